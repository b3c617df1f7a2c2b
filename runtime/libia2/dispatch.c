#include "dispatch.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "guest.h"
#include "peek.h"
#include "syscall_perform.h"
#include "system.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH /* Linux 5.11 */
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define DISPATCH_OFF 0 /* PR_SYS_DISPATCH_OFF, PR_SYS_DISPATCH_ON */
#define DISPATCH_ON 1
#define SYS_URETPROBE 335 /* the kernel's own, from a page of its own (Linux 6.11) */
#define SYS_UPROBE 336

#define INSTRUCTION 2 /* bytes of SYSCALL, and of INT $0x80 */

/* The runtime's first byte and the end of its text, from the linker. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* A page of their own: it must be readable under every PKRU, and the runtime's memory around it is not. */
_Atomic uintptr_t ia2_trampoline_return[4096 / sizeof(uintptr_t)] __attribute__((aligned(4096)));
_Static_assert(IA2_TRAMPOLINES <= sizeof ia2_trampoline_return / sizeof *ia2_trampoline_return, "one page");
__thread char ia2_dispatch_selector;
static __thread bool armed;

static bool set_dispatch(void) {
    return ia2_syscall(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_ON, (long)__ehdr_start,
                       (long)(etext - __ehdr_start), (long)&ia2_dispatch_selector, 0) == 0;
}

bool ia2_dispatch_arm(void) {
    ia2_dispatch_selector = 0;
    armed = set_dispatch();
    return armed;
}

void ia2_dispatch_disarm(void) {
    ia2_dispatch_selector = 0;
    if (armed) {
        armed = false;
        ia2_syscall(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_OFF, 0, 0, 0, 0);
    }
}

bool ia2_dispatch_armed(void) { return armed; }

bool ia2_dispatch_after_fork(void) { return armed && set_dispatch(); }

/* ---- calls that the interrupted code makes itself ---------------------------------------------------------------------------------- */

/* The slot of the trampolines that goes on at `address`; -1 when all are bound to other addresses. */
static int trampoline_to(uintptr_t address) {
    for (int i = 0; i < IA2_TRAMPOLINES; i++) {
        uintptr_t bound = 0;
        if (atomic_compare_exchange_strong(&ia2_trampoline_return[i], &bound, address) || bound == address) {
            return i;
        }
    }
    return -1;
}

void ia2_dispatch_step_aside(ucontext_t *context) {
    ia2_dispatch_selector = 0;
    context->uc_mcontext.gregs[REG_RIP] -= INSTRUCTION;
}

static void send_to_trampoline(ucontext_t *context, bool rearm) {
    greg_t *registers = context->uc_mcontext.gregs;
    int slot = trampoline_to((uintptr_t)registers[REG_RIP]);
    if (slot < 0) {
        ia2_dispatch_step_aside(context);
        return;
    }
    const char *table = rearm ? ia2_rearm_trampolines : ia2_trampolines;
    registers[REG_RIP] = (greg_t)table + slot * IA2_TRAMPOLINE_SIZE * (rearm ? 2 : 1);
}

struct child {
    uint64_t flags;
    bool own_stack;
};

/* What fork, vfork, clone and clone3 say of the child. */
static struct child child_of(const struct ia2_call *call) {
    struct clone_args wanted = {0};
    size_t size = (size_t)call->arguments[1];
    switch (call->number) {
    case SYS_vfork:
        return (struct child){CLONE_VM | CLONE_VFORK, false};
    case SYS_clone:
        return (struct child){(uint32_t)call->arguments[0], call->arguments[1] != 0};
    case SYS_clone3:
        ia2_peek(&wanted, (uintptr_t)call->arguments[0], size < sizeof wanted ? size : sizeof wanted);
        return (struct child){wanted.flags, wanted.stack != 0};
    default:
        return (struct child){0, false};
    }
}

/* A child with a copy of this memory and this stack comes out of the handler like its parent. Any other would return to a frame that is
 * not there, or that its parent is using. */
static void create_child(ucontext_t *context, const struct ia2_call *call) {
    greg_t *registers = context->uc_mcontext.gregs;
    const greg_t here = registers[REG_RIP];
    const struct child child = child_of(call);
    long result;
    bool rearm = !(child.flags & (CLONE_VM | CLONE_SETTLS | CLONE_CLEAR_SIGHAND)); /* our TLS and our handler */
    if (!ia2_syscall_foresee(context, call, &result)) {
        if (registers[REG_RIP] == here) {
            registers[REG_RAX] = result;
        }
        return;
    }
    if ((child.flags & (CLONE_VM | CLONE_VFORK)) == (CLONE_VM | CLONE_VFORK)) {
        ia2_vfork_is_coming(context);
    } else if (child.flags & CLONE_VM) {
        ia2_thread_is_coming();
    }
    if (!rearm || child.own_stack) {
        send_to_trampoline(context, rearm);
        return;
    }
    result = ia2_syscall_as(context, call->number, call->arguments);
    if (result == 0) {
        ia2_dispatch_after_fork();
    }
    registers[REG_RAX] = result;
}

/* The frame that a restorer is about to leave lies where its RSP points. A handler of the program's may have edited the mask in
 * it; the signals that the kernel forces must not be in it. */
static void return_from_signal(ucontext_t *context) {
    ucontext_t *frame = (ucontext_t *)context->uc_mcontext.gregs[REG_RSP];
    uint64_t mask;
    if (ia2_peek(&mask, (uintptr_t)&frame->uc_sigmask, sizeof mask) && mask & IA2_FORCED_SIGNALS) {
        *(uint64_t *)&frame->uc_sigmask = mask & ~IA2_FORCED_SIGNALS;
    }
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)ia2_trampoline_sigreturn;
}

/* ---- calls that are performed here --------------------------------------------------------------------------------------------------- */

/* What the handler returns to is the mask in the frame, so a change has to be made there, too. */
static long change_mask(ucontext_t *context, const long *arguments) {
    long result = ia2_guest_sigprocmask(context, (int)arguments[0], (const void *)arguments[1], (void *)arguments[2],
                                        (size_t)arguments[3]);
    ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&context->uc_sigmask, sizeof(uint64_t));
    return result;
}

static long take_dispatch(ucontext_t *context, const struct ia2_call *call) {
    long result = ia2_syscall_perform(context, call);
    if (result == 0 && (int)call->arguments[0] == PR_SET_SYSCALL_USER_DISPATCH) {
        armed = false; /* the program has it now */
    }
    return result;
}

static long ask_guest(ucontext_t *context, const struct ia2_call *call) {
    const long *arguments = call->arguments;
    long result;
    if (!ia2_syscall_foresee(context, call, &result)) {
        return result;
    }
    switch (call->number) {
    case SYS_rt_sigaction:
        return ia2_guest_sigaction(context, (int)arguments[0], (const void *)arguments[1], (void *)arguments[2],
                                   (size_t)arguments[3]);
    case SYS_rt_sigprocmask:
        return change_mask(context, arguments);
    default:
        return ia2_guest_sigaltstack((const void *)arguments[0], (void *)arguments[1], context);
    }
}

/* A signal to the own thread arrives before the call returns. Sent from here, it would find our frames on the stack, and a
 * core file or a handler that looks at its context would show them instead of the code that sent it. */
static void send_signal(ucontext_t *context, const struct ia2_call *call) {
    greg_t *registers = context->uc_mcontext.gregs;
    const greg_t here = registers[REG_RIP];
    long result;
    if (ia2_syscall_foresee(context, call, &result)) {
        send_to_trampoline(context, false);
    } else if (registers[REG_RIP] == here) {
        registers[REG_RAX] = result;
    }
}

static void answer(ucontext_t *context, const struct ia2_call *call) {
    greg_t *registers = context->uc_mcontext.gregs;
    const greg_t here = registers[REG_RIP];
    long result;
    switch (call->number) {
    case SYS_rt_sigaction:
    case SYS_rt_sigprocmask:
    case SYS_sigaltstack:
        result = ask_guest(context, call);
        break;
    case SYS_prctl:
        result = take_dispatch(context, call);
        break;
    default:
        result = ia2_syscall_perform(context, call);
        break;
    }
    if (registers[REG_RIP] == here) {
        registers[REG_RAX] = result;
    }
}

void ia2_dispatch_handle(siginfo_t *info, ucontext_t *context) {
    const greg_t *registers = context->uc_mcontext.gregs;
    const struct ia2_call call = {(int)registers[REG_RAX], /* the kernel takes no more of it either */
                                  {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX], registers[REG_R10],
                                   registers[REG_R8], registers[REG_R9]}};
    if (info->si_arch != AUDIT_ARCH_X86_64) {
        ia2_dispatch_step_aside(context);
        return;
    }
    switch (call.number) {
    case SYS_rt_sigreturn:
        return_from_signal(context);
        break;
    case SYS_fork:
    case SYS_vfork:
    case SYS_clone:
    case SYS_clone3:
        create_child(context, &call);
        break;
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_send_signal:
        send_signal(context, &call);
        break;
    case SYS_URETPROBE:
    case SYS_UPROBE:
        ia2_dispatch_step_aside(context);
        break;
    default:
        answer(context, &call);
        break;
    }
}
