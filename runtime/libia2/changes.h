/* Rights that change while threads run destructors. Nobody interrupts anybody, and nobody waits: what has changed is told, and each thread
 * applies it itself, right before its next destructor (libmpk's lazy synchronisation: Park et al., USENIX ATC 2019, section 4.4). What a
 * thread has still to apply is the difference between what was told and what it has taken, one number for each kind of change: a list
 * that does not grow, however much changes, and that is read without a lock. */
#ifndef IA2_CHANGES_H
#define IA2_CHANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "thread.h"

#define IA2_KEYS_CHANGED 1u     /* one more compartment has a key: between destructors it must be closed, too */
#define IA2_MAPPINGS_CHANGED 2u /* memory was mapped or protected anew: nobody has closed it yet */

extern _Atomic uint32_t ia2_changes_told;

/* Tells all threads, the calling one included. Everything that they will look at must be in place. Any time, signal handlers. */
void ia2_changes_tell(uint32_t changes);
/* Has the calling thread something to apply? */
static inline bool ia2_changes_due(const struct ia2_thread *thread) {
    return atomic_load_explicit(&ia2_changes_told, memory_order_acquire) != thread->changes_taken;
}
/* What it is; from now on it counts as applied. */
uint32_t ia2_changes_take(struct ia2_thread *thread);

/* ---- numbers that are used again ----
 *
 * A destructor that runs keeps the rights that it began with. So the number of a compartment that is gone, and the key that goes with it,
 * serve another object only when every destructor that was running at that time has returned. */

/* The calling thread begins its outermost destructor, before it looks at the record, and has ended it. */
void ia2_changes_begin_run(struct ia2_thread *thread);
static inline void ia2_changes_end_run(struct ia2_thread *thread) {
    atomic_store_explicit(&thread->running_since, 0, memory_order_release);
}
/* The moment at which something went; no record names it any more. */
uint64_t ia2_changes_retire(void);
/* What went before the moment that this returns, nobody runs with any more. */
uint64_t ia2_changes_oldest(void);

#endif
