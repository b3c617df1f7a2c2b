/* Running a destructor with its owner's rights, and what has been counted. */
#ifndef IA2_RUN_H
#define IA2_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gate.h"
#include "map_format.h"
#include "records.h"
#include "thread.h"

#define IA2_NO_OWNER UINT16_MAX

/* Relaxed counters. `registered` and `runs` are of records that are no longer in their slots, and of calls of records that repeat:
 * the slots themselves tell of the others (ia2_record_census()), so that the common path counts nothing. */
struct ia2_counters {
    _Atomic uint64_t registered, bypassed, unknown, refused, lost, out_of_order;
    _Atomic uint64_t wrpkru; /* but those of calls of destructors (tally.h) and of our signal handlers (gate.h) */
};

extern struct ia2_counters ia2_counters;

static inline void ia2_count(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* A run by its owner and outcome. The last row is of records that nobody owns. */
#define IA2_OWNERS (IA2_MAP_MAX_COMPARTMENT + 2u)
extern _Atomic uint32_t ia2_runs[IA2_OWNERS][IA2_OUTCOMES];
static inline uint32_t ia2_owner_row(uint16_t owner) { return owner == IA2_NO_OWNER ? IA2_OWNERS - 1 : owner; }
void ia2_count_run(const struct exit_record *record);
/* The same for one that has begun and not returned. */
void ia2_count_cut_off(const struct exit_record *record);

enum ia2_exit_how { IA2_EXIT_MAIN, IA2_EXIT_CALL, IA2_EXIT_QUICK, IA2_EXIT_FROM_DESTRUCTOR };

/* True while exiting and nobody watches or enforces: a record that glibc comes back with may then be run with no more than its check.
 * Everything else goes through ia2_run_destructor(). */
extern _Atomic bool ia2_unwatched_exit;

#define IA2_STATUS_UNKNOWN INT32_MIN

/* The exit phase begins (only the first call counts), with the status that the program gave: brings the objects up to date, verifies
 * the map, says so, and closes all memory but the shared. */
void ia2_exit_begin(enum ia2_exit_how how, int status);
/* The exit phase ends: everything is open again, for stdio's last flush. */
void ia2_exit_end(void);
bool ia2_exiting(void);
/* Where ld.so is finalising an object in the calling thread: to unload it? Else the process exits, and everything stays mapped. */
bool ia2_unloads(void);

/* What ia2_run_destructor() comes down to for one more destructor of the owner whose memory is open already, outside any other, with
 * backend mprotect and without a trace; `otherwise` where this is another case. `record` is one that ia2_record_find() gave. */
void ia2_run_alike(struct exit_record *record, uintptr_t second,
                   void (*otherwise)(struct exit_record *record, uintptr_t first, uintptr_t second));

/* Runs `record` with these arguments, as ia2_run_destructor() does. Behind an open gate; any thread; not in a signal handler. */
void ia2_run_with(struct exit_record *record, uintptr_t first, uintptr_t second);

/* Gives the running destructor its rights again, which a signal handler that never returned had changed. */
void ia2_run_resume_rights(struct ia2_thread *thread);

/* The innermost destructor that the calling thread runs; false: none. Any time, signal handlers too, behind a gate. */
struct ia2_running {
    const struct exit_record *record;
    uint64_t sequence; /* of its events; 0 where nothing is traced */
};
bool ia2_running(struct ia2_running *now);

#endif
