/* Work that may touch memory which is not there: a fault ends the work, not the process. Any thread, signal handlers; nests.
 *
 * The runtime's handler of SIGSEGV and SIGBUS must not be blocked meanwhile: the kernel kills a process that faults with the
 * signal blocked. ia2_guard_run() makes no system call, so whoever cannot know calls ia2_guard_unblock() first. */
#ifndef IA2_GUARD_H
#define IA2_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* Runs work(argument). Returns false when a fault interrupted it. What it had written is there, what it held is held. */
bool ia2_guard_run(void (*work)(void *), void *argument);

/* For the handler of SIGSEGV and SIGBUS, before anything else, where the kernel raised the signal (si_code > 0): was it guarded work
 * of this thread that faulted? Then `context` has been changed so that returning from the handler makes ia2_guard_run() return
 * false, and the handler must do nothing more. */
bool ia2_guard_caught(ucontext_t *context);

/* Unblocks both signals in this thread. Returns its mask before that, for ia2_guard_restore(). */
uint64_t ia2_guard_unblock(void);
void ia2_guard_restore(uint64_t mask);

#endif
