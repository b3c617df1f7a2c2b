/* What the runtime keeps about one thread. It lies in the runtime's own memory, not in the thread's TLS, which every destructor may
 * write: the TLS holds a hint only, checked against the thread pointer on each use. */
#ifndef IA2_THREAD_H
#define IA2_THREAD_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "records.h"
#include "switch.h"

/* Whose memory is open: shared memory always, and these compartments; 0 in `owner` or `also`: no other. */
struct ia2_rights {
    uint16_t owner, also;
    bool all; /* everything is open */
    uintptr_t
        near; /* in the object whose pages are needed first: others of `owner` may wait for their first touch; 0: they may not */
};

/* The last dso_handle that this thread resolved by rule 2: most registrations of an object come one after the other, with an
 * argument and a call in that very object. Void when the epoch of the objects has moved on. */
struct ia2_owner_cache {
    uintptr_t dso, start, size;
    uint32_t epoch;
    uint16_t owner;
    bool plain; /* the exit map has nothing to say of single functions of this object */
};

#define IA2_CHANGES_KINDS 2u
#define IA2_STEP_PAGES 4u /* one instruction touches no more */
#define IA2_TOUCHED 16u

struct ia2_thread {
    uintptr_t base; /* the thread pointer (%fs base): whose slot this is; 0: free */
    uint32_t pkru;  /* of the running destructor, or of the code between; computed where there are no keys */
    union {
        struct {
            uint16_t depth;   /* destructors of this thread that are running */
            uint8_t touched;  /* pages that were opened for the running destructor */
            uint8_t stepping; /* pages that are open for one instruction */
        };
        uint32_t within; /* all of these at once: as many destructors run, and left nothing behind */
    };
    union {
        struct {
            uint16_t unloading;  /* calls of dlclose that are under way */
            uint16_t finalising; /* calls of ia2_run_fini that are under way */
            uint16_t in_handler; /* signal handlers of the program that we called and that have not returned */
            uint16_t steps;      /* instructions that touched closed memory as they may, in the last destructor */
        };
        uint64_t busy; /* all of these at once */
    };
    uint32_t tid, pid; /* at the time when it got the slot */

    /* What runs. */
    struct exit_record *running; /* the innermost destructor, or NULL */
    uint64_t sequence;           /* its number in the events */
    struct ia2_rights rights;
    const struct exit_record *record; /* for which `first` and `second` are meant: arguments of the next call */
    uintptr_t first, second;
    uint64_t overhead; /* nanoseconds spent writing events since the thread started */

    /* Changes of rights (changes.h). */
    uint32_t changes_taken, kinds_taken[IA2_CHANGES_KINDS];
    _Atomic uint64_t running_since; /* the moment at which its outermost destructor began; 0: it runs none */

    /* Between destructors, with protection keys: the PKRU that a gate is closed with, whatever it was before. */
    uint32_t resting_pkru;
    bool resting;    /* it counts */
    bool rests_once; /* not after the next gate */
    bool closing;    /* memory is closed for this thread, among others */
    bool exits;      /* it runs the destructors of the exit, and does not come back from there */
    uint8_t guarded; /* parts of the runtime that want this thread ready for faults */
    volatile uint8_t
        switching; /* changes of what is open (mprotect) that have begun and not ended: each in a handler that came in
                                  another */

    /* Touches of closed memory. */
    bool trap_flag;                       /* the program's own, before we set it */
    uint32_t step_pkru;                   /* what the frame gets back after that instruction */
    uintptr_t touched_pages[IA2_TOUCHED]; /* address | protection that it was opened with */
    uintptr_t step_pages[IA2_STEP_PAGES];

    /* Signals. */
    void *alternate_stack; /* ours, for handlers of faults; NULL: none yet */
    bool has_our_stack;    /* the kernel uses it for this thread */
    bool intercepted;      /* were system calls dispatched, before the innermost handler of the program's */
    uint32_t our_stack;    /* bytes of it that are free: frames lie above while a handler runs on the program's */
    uintptr_t handler_sp;  /* where that handler was called */
    stack_t program_stack; /* the alternate stack that the program wants */
    uint64_t program_mask; /* the signal mask before we unblocked what we need */

    struct ia2_owner_cache owner_cache;
};

extern struct ia2_thread ia2_threads[IA2_THREADS];
extern __thread uint32_t ia2_thread_hint;

struct ia2_thread *ia2_thread_slow(void);

/* The earliest moment at which a thread that is still at it began its outermost destructor; `none` where there is none earlier. Not in a
 * signal handler. */
uint64_t ia2_threads_running_since(uint64_t none);

/* The calling thread's. Behind a gate only (gate.h). Any time, signal handlers too; never NULL: threads that find no slot share
 * slot 0, in which nothing is enforced. */
static inline struct ia2_thread *ia2_self(void) {
    struct ia2_thread *thread = &ia2_threads[ia2_thread_hint % IA2_THREADS];
    bool mine = thread->base == (uintptr_t)__builtin_thread_pointer() && thread != ia2_threads;
    return __builtin_expect(mine, 1) ? thread : ia2_thread_slow();
}

static inline uint32_t ia2_thread_slot(const struct ia2_thread *thread) { return (uint32_t)(thread - ia2_threads); }

#endif
