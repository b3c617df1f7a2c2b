/* Running a destructor: what a thread is doing, and what has been counted. */
#ifndef IA2_RUN_H
#define IA2_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "records.h"

#define IA2_PKRU_OPEN 0u
#define IA2_PKRU_SHARED 0xfffffffcu /* everything closed but key 0 */
#define IA2_LAST_KEY 15u

/* A destructor that is running, and which number it has in the order of all. */
struct ia2_running {
    const struct exit_record *record;
    uint64_t sequence;
};

/* State of one thread. Plain thread-local: a signal handler sees the state of the thread that it interrupts. */
struct ia2_thread {
    uint32_t pkru;              /* the virtual PKRU while a destructor runs */
    uint16_t depth;             /* destructors of this thread that are running */
    uint16_t unloading;         /* calls of dlclose that are under way */
    uint16_t finalising;        /* calls of ia2_run_fini that are under way */
    uint64_t overhead;          /* nanoseconds spent writing events since the thread started */
    struct ia2_running running; /* the innermost destructor; its record is NULL when there is none, or nobody traces */
    const struct exit_record *record; /* for which `first` and `second` are meant */
    uintptr_t first, second;          /* arguments of the next call */
};

extern __thread struct ia2_thread ia2_thread;

/* Relaxed counters. `registered` and `ran` are of records that are no longer in their slots, and of calls of records that repeat:
 * the slots themselves tell of the others (ia2_record_census()), so that the common path counts nothing. */
struct ia2_counters {
    _Atomic uint64_t registered, ran, fallback, bypassed, unknown, foreign, vague, refused, lost;
};

extern struct ia2_counters ia2_counters;

static inline void ia2_count(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

enum ia2_exit_how { IA2_EXIT_MAIN, IA2_EXIT_CALL, IA2_EXIT_QUICK, IA2_EXIT_FROM_DESTRUCTOR };

/* True while exiting and nobody watches (no trace, no diagnosis): a record that glibc comes back with may then be run with no
 * more than its check. Everything else goes through ia2_run_destructor(). */
extern bool ia2_unwatched_exit;

#define IA2_STATUS_UNKNOWN INT32_MIN

/* The exit phase begins (only the first call counts), with the status that the program gave. Says so, and brings the objects up to
 * date. */
void ia2_exit_begin(enum ia2_exit_how how, int status);
bool ia2_exiting(void);

/* Runs `record` with these arguments, through ia2_run_destructor(). Any thread; not in a signal handler. */
void ia2_run_with(const struct exit_record *record, uintptr_t first, uintptr_t second);

/* The innermost destructor of the calling thread; false when it runs none. Signal handlers. */
bool ia2_running(struct ia2_running *now);

/* PKRU that opens compartment 0 and `id`. Returns false when the number is beyond the keys that a CPU has. */
bool ia2_pkru_of(uint16_t id, uint32_t *pkru);

#endif
