/* Performing a system call in the program's stead, and seeing to closed memory that it meets. */
#ifndef IA2_SYSCALL_PERFORM_H
#define IA2_SYSCALL_PERFORM_H

#include <stdbool.h>
#include <ucontext.h>

#include "syscall_args.h"

/* Signals whose blocking would be the end: the kernel kills a process that blocks a signal which it forces. One bit each. */
#define IA2_FORCED_SIGNALS (1ul << (SIGSYS - 1) | 1ul << (SIGSEGV - 1) | 1ul << (SIGTRAP - 1))

/* Performs `call` and returns what the program is to see. If RIP in `context` is another afterwards, ia2_touched_by_syscall() has sent
 * the interrupted code elsewhere, and the result is void. */
long ia2_syscall_perform(ucontext_t *context, const struct ia2_call *call);

/* Reports all closed memory that `call` hands to the kernel, for calls that are performed elsewhere. Returns false where they must not
 * be: `*result` is for the program then (void, if RIP in `context` is another). */
bool ia2_syscall_foresee(ucontext_t *context, const struct ia2_call *call, long *result);

#endif
