/* Signals while memory is closed. The runtime handles faults and dispatched system calls itself and stands around the program's own
 * handlers, so that each runs with the rights of the object that holds it; the program sees the signals that it set up. */
#ifndef IA2_SIGNALS_H
#define IA2_SIGNALS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "kernel_action.h"
#include "thread.h"

/* What must never be blocked in a thread that runs destructors: the kernel kills a process whose forced signal is blocked. */
#define IA2_UNBLOCKED (1ul << (SIGSEGV - 1) | 1ul << (SIGBUS - 1) | 1ul << (SIGTRAP - 1) | 1ul << (SIGSYS - 1))

#define IA2_ALTERNATE_STACK (64ul << 10) /* the size of ours */

/* Puts our handlers in place of the program's, for the whole process. Returns NULL, or what went wrong. */
const char *ia2_signals_take(void);
/* Puts back what the program wants by now. */
void ia2_signals_give_back(void);
/* Gives the calling thread an alternate stack of ours, keeps the signals that we need unblocked, and dispatches its system calls; or
 * undoes that. */
void ia2_signals_guard_thread(struct ia2_thread *thread, bool on);

/* What the kernel is to use as the alternate stack of a thread that has ours. */
stack_t ia2_signals_stack(const struct ia2_thread *thread);
/* Around a handler that was called from ours and runs on the stack that ends at `other`: the next signal must find room below `sp`, not
 * what lies above. Returns what ia2_signals_unkeep() takes. */
uint32_t ia2_signals_keep(struct ia2_thread *thread, uintptr_t sp, uintptr_t other);
void ia2_signals_unkeep(struct ia2_thread *thread, uint32_t before, uintptr_t other);

/* In a handler of ours: lets the signal have the effect that it has without us, once the handler returns. `repeats`: the interrupted
 * instruction raises it again by itself. */
void ia2_signals_forward(int number, const siginfo_t *info, ucontext_t *context, bool repeats);
/* In a handler of ours: the signal ends the process by its default action, whatever the program wants. */
void ia2_signals_end(int number, const siginfo_t *info, ucontext_t *context);

/* In a handler of ours: has the interrupted code left the program's handlers by longjmp? Then it runs as its destructor again. */
void ia2_signals_handler_left(struct ia2_thread *thread, ucontext_t *context);

/* What the program wants for this signal: SIG_DFL, SIG_IGN or a handler. */
uintptr_t ia2_signals_wanted(int number);

/* Whose signals are taken: the process's number, 0: nobody's. A child has a table of its own in the kernel, but maybe this memory. On a
 * page of its own, readable under every PKRU: the hooks ask before they open a gate. */
extern _Atomic int ia2_signals_taker[];
static inline int ia2_signals_taken_by(void) {
    return atomic_load_explicit(&ia2_signals_taker[0], memory_order_acquire);
}

/* What the program wants from now on, and what it wanted before; action NULL: it only asks. Signals that are not taken are the
 * kernel's. Returns 0 or -errno. Any thread of the process that took them; signal handlers. */
long ia2_signals_change(int number, const struct ia2_kernel_action *action, struct ia2_kernel_action *before);
/* `action` is what the kernel says: if that is ours, it becomes what the program wants. */
void ia2_signals_translate(int number, struct ia2_kernel_action *action);

/* The handlers' bodies, for signals.c to install (faults.c). */
void ia2_on_fault(int number, siginfo_t *info, void *context);
void ia2_on_trap(int number, siginfo_t *info, void *context);
void ia2_on_dispatch(int number, siginfo_t *info, void *context);
void ia2_on_hang(int number, siginfo_t *info, void *context);

/* The signal by which `ia2exit run --timeout` asks where everybody is. */
#define IA2_HANG_SIGNAL 62 /* SIGRTMAX - 2 */

#endif
