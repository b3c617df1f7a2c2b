/* Syscall User Dispatch: every system call that this thread makes outside the runtime's text comes to us as SIGSYS, because one on
 * closed memory returns EFAULT or a short count where an instruction would fault. Linux 5.11 or later
 * (Documentation/admin-guide/syscall-user-dispatch.rst).
 *
 * Not covered: 32-bit entries (int $0x80), which run unseen; memory that the kernel touches after the call has returned (io_uring,
 * Linux AIO, set_tid_address, robust lists); threads and vfork children, which the kernel starts without dispatch. */
#ifndef IA2_DISPATCH_H
#define IA2_DISPATCH_H

#define IA2_TRAMPOLINES 64 /* distinct places that create children or send signals, of which a process has a handful */
#define IA2_TRAMPOLINE_SIZE 32 /* bytes */

#ifndef __ASSEMBLER__

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* Begins dispatch in the calling thread, with interception off. Returns false where the kernel lacks it, or a filter forbids it. The
 * handler of SIGSYS must be in place, with SA_NODEFER, an empty mask and a restorer within the runtime's text; and SIGSYS must not be
 * blocked, by no handler's mask either: the kernel kills a process whose forced signal is blocked. */
bool ia2_dispatch_arm(void);
void ia2_dispatch_disarm(void);

/* Is dispatch ours in this thread? False also after the program has taken it for itself (Wine does): then a SIGSYS of the
 * kind SYS_USER_DISPATCH is the program's. */
bool ia2_dispatch_armed(void);

/* For the same handler: lets the interrupted code make its call itself, and whatever comes after it until interception is switched on
 * again. */
void ia2_dispatch_step_aside(ucontext_t *context);

/* What the kernel looks at before each system call: 0 performs it, 1 sends SIGSYS. Readable under every PKRU. */
extern __thread char ia2_dispatch_selector;

/* Switches interception in the calling thread: a store, no system call. Returns what it was. */
static inline bool ia2_dispatch_intercept(bool on) {
    bool was = ia2_dispatch_selector;
    ia2_dispatch_selector = on;
    return was;
}

/* In a forked child, for which the kernel has ended dispatch: begins it again, with interception as it was in the parent. Children
 * that were created under interception have done so already; doing it twice is harmless. */
bool ia2_dispatch_after_fork(void);

/* For the handler of SIGSYS with si_code == SYS_USER_DISPATCH (2), if ia2_dispatch_armed(): performs the system call and puts the
 * result into `context`. Nests: a handler of the program's that interrupts the call makes system calls, too, and may leave by longjmp. */
void ia2_dispatch_handle(siginfo_t *info, ucontext_t *context);

/* ---- trampolines.S ----------------------------------------------------------------------------------------------------------------- */

/* Entry i makes the system call that the registers say and goes on at ia2_trampoline_return[i]. Under the interrupted code's PKRU. */
extern const char ia2_trampolines[];
/* The same, and a child (result 0) begins dispatch again first. */
extern const char ia2_rearm_trampolines[];
/* rt_sigreturn. */
extern const char ia2_trampoline_sigreturn[];

/* Return addresses, each bound once and for ever: a child that shares memory reads them while its parent goes on. */
extern _Atomic uintptr_t ia2_trampoline_return[];

#endif
#endif
