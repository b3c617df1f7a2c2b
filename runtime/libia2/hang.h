/* A process that does not end: where each of its threads is. */
#ifndef IA2_HANG_H
#define IA2_HANG_H

#include <signal.h>
#include <ucontext.h>

/* The handler of the signal that asks for it, without its installation. A signal from outside makes this thread write the event
 * `fault` ("timeout") and pass the signal on to all others, which write `stack` each. A thread that blocks it stays silent. */
void ia2_hang_dump(const siginfo_t *info, const ucontext_t *context);

#endif
