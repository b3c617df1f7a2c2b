/* Signals while memory is closed. The runtime handles faults and dispatched system calls itself and stands around the program's own
 * handlers, so that each runs with the rights of the object that holds it; the program sees the signals that it set up. */
#ifndef IA2_SIGNALS_H
#define IA2_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "thread.h"

/* Puts our handlers in place of the program's, for the whole process. Returns NULL, or what went wrong. */
const char *ia2_signals_take(void);
/* Puts back what the program wants by now. */
void ia2_signals_give_back(void);
/* Gives the calling thread an alternate stack of ours, keeps the signals that we need unblocked, and dispatches its system calls; or
 * undoes that. */
void ia2_signals_guard_thread(struct ia2_thread *thread, bool on);

/* In a handler of ours: lets the signal have the effect that it has without us, once the handler returns. `repeats`: the interrupted
 * instruction raises it again by itself. */
void ia2_signals_forward(int number, const siginfo_t *info, ucontext_t *context, bool repeats);
/* In a handler of ours: the signal ends the process by its default action, whatever the program wants. */
void ia2_signals_end(int number, const siginfo_t *info, ucontext_t *context);

/* In a handler of ours: has the interrupted code left the program's handlers by longjmp? Then it runs as its destructor again. */
void ia2_signals_handler_left(struct ia2_thread *thread, const ucontext_t *context);

/* What the program wants for this signal: SIG_DFL, SIG_IGN or a handler. */
uintptr_t ia2_signals_wanted(int number);

/* The handlers' bodies, for signals.c to install (faults.c). */
void ia2_on_fault(int number, siginfo_t *info, void *context);
void ia2_on_trap(int number, siginfo_t *info, void *context);
void ia2_on_dispatch(int number, siginfo_t *info, void *context);
void ia2_on_hang(int number, siginfo_t *info, void *context);

/* The signal by which `ia2exit run --timeout` asks where everybody is. */
#define IA2_HANG_SIGNAL 62 /* SIGRTMAX - 2 */

#endif
