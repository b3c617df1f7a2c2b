/* What dispatch.c wants of the rest of the runtime for a system call that it performs in the program's stead. All of it is called in
 * the handler of SIGSYS, in the thread that made the call; none of it touches errno. */
#ifndef IA2_GUEST_H
#define IA2_GUEST_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

/* ---- the program's view of its signals, which is not the kernel's while the runtime handles some of them itself --------------- */

/* rt_sigaction, rt_sigprocmask and sigaltstack as the kernel defines them: -errno on failure. Pointers are what the program gave and
 * may be any number; they are followed with the rights that `context` had, and what was closed behind them has been reported before. The kernel's present mask after ia2_guest_sigprocmask()
 * becomes that of the interrupted code. */
long ia2_guest_sigaction(const ucontext_t *context, int number, const void *action, void *old, size_t size);
long ia2_guest_sigprocmask(const ucontext_t *context, int how, const void *set, void *old, size_t size);
long ia2_guest_sigaltstack(const void *stack, void *old, ucontext_t *context);

/* sigaltstack for a hook: what is given is the hook's own memory, `sp` where its caller is. */
long ia2_guest_change_stack(const stack_t *wanted, stack_t *before, uintptr_t sp);
/* `stack` is what the kernel says: if that is ours, it becomes what the program wants. */
void ia2_guest_translate_stack(stack_t *stack);

/* ---- children that share this process's memory: they run without dispatch ------------------------------------------------------ */

/* A thread is about to be created, or a child that shares memory and does not make its parent wait. */
void ia2_thread_is_coming(void);
/* A child is about to be created that shares memory until it ends or execs, while this thread waits (vfork, posix_spawn). Closed
 * memory that its system calls meet gives it EFAULT, which nobody sees. */
void ia2_vfork_is_coming(ucontext_t *context);

/* ---- closed memory -------------------------------------------------------------------------------------------------------------- */

/* Is there a byte in [address, address + size) that is closed to the interrupted code, for reading or, with `write`, for writing? Then
 * *first is the first. Memory that the program itself made inaccessible, or that is not there, is not closed. */
bool ia2_closed_in(uintptr_t address, size_t size, bool write, uintptr_t *first);

enum ia2_touch {
    IA2_TOUCH_REPEAT, /* the page is open now: perform the call again, or for the first time */
    IA2_TOUCH_LEAVE,  /* let the program have the kernel's answer */
};

/* System call `number` met the closed byte at `address`, or would; `known` is false where the direction is a guess. May change
 * `context`, or not return: a call whose context has another RIP afterwards is over, nothing is written to it any more. */
enum ia2_touch ia2_touched_by_syscall(ucontext_t *context, long number, uintptr_t address, bool write, bool known);

/* ---- the call itself ------------------------------------------------------------------------------------------------------------- */

/* Performs one system call with the PKRU of the interrupted code. Weak: a plain system call, for backends without keys. */
long ia2_syscall_as(const ucontext_t *context, long number, const long arguments[6]);

#endif
