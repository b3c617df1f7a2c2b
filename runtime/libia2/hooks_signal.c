/* sigaction() and its relatives, and sigaltstack(), in front of glibc's: while the runtime has taken the process's signals, the program
 * sees and sets its own. Most of the time nothing is taken, and a hook is one comparison. */
#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <signal.h>
#include <stddef.h>

#include "gate.h"
#include "guest.h"
#include "kernel_action.h"
#include "sealed.h"
#include "signals.h"
#include "system.h"

#define FIRST_INTERNAL 32 /* glibc keeps two signals to itself (sysdeps/unix/sysv/linux/internal-signals.h) */
#define LAST_INTERNAL 33

/* Signals that siginterrupt() has marked: what signal() installs does not restart system calls then. */
static _Atomic uint64_t interrupting;

static bool is_valid(int number) {
    return number >= 1 && number < NSIG && (number < FIRST_INTERNAL || number > LAST_INTERNAL);
}

static int fail(int error) {
    errno = error;
    return -1;
}

/* Is it libc's own function that we stand in front of? A sanitizer's keeps tables of its own. */
static bool is_in_libc(const void *function) {
    struct dl_find_object libc;
    struct dl_find_object found;
    return _dl_find_object((void *)gnu_get_libc_version, &libc) == 0 &&
           _dl_find_object((void *)function, &found) == 0 && found.dlfo_link_map == libc.dlfo_link_map;
}

/* libc's struct is another than the kernel's (sysdeps/unix/sysv/linux/libc_sigaction.c). */
static struct ia2_kernel_action to_kernel(const struct sigaction *action) {
    return (struct ia2_kernel_action){
        .handler = (uintptr_t)action->sa_handler,
        .flags = (unsigned long)(long)action->sa_flags & ~IA2_SA_RESTORER, /* the program's restorer is not used */
        .mask = action->sa_mask.__val[0],
    };
}

static void to_libc(struct sigaction *action, const struct ia2_kernel_action *found) {
    *action = (struct sigaction){0};
    action->sa_handler = (__sighandler_t)found->handler;
    action->sa_flags = (int)found->flags;
    action->sa_restorer = (void (*)(void))found->restorer;
    action->sa_mask.__val[0] = found->mask;
}

/* In a child, which has a table of its own in the kernel, and maybe our memory; or where a sanitizer is to have its way. */
static int pass_on(int number, const struct sigaction *action, struct sigaction *old) {
    int result = ia2_sealed.real.sigaction(number, action, old);
    if (result == 0 && old) {
        struct ia2_kernel_action found = to_kernel(old);
        found.flags |= (unsigned long)(unsigned)old->sa_flags;
        found.restorer = (uintptr_t)old->sa_restorer;
        uint32_t before = ia2_gate_open();
        ia2_signals_translate(number, &found);
        ia2_gate_close(before);
        to_libc(old, &found);
    }
    return result;
}

/* While they are taken. What the program gave is read and written with its own rights. */
static int change(int number, const struct sigaction *action, struct sigaction *old) {
    struct ia2_kernel_action wanted;
    struct ia2_kernel_action found;
    if (!is_valid(number)) {
        return fail(EINVAL);
    }
    if (ia2_signals_taken_by() != ia2_getpid() || !is_in_libc((const void *)ia2_sealed.real.sigaction)) {
        return pass_on(number, action, old);
    }
    if (action) {
        wanted = to_kernel(action);
    }
    uint32_t before = ia2_gate_open();
    long result = ia2_signals_change(number, action ? &wanted : NULL, &found);
    ia2_gate_close(before);
    if (result != 0) {
        return fail((int)-result);
    }
    if (old) {
        to_libc(old, &found);
    }
    return 0;
}

IA2_PUBLIC int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    ia2_real_resolve();
    return ia2_signals_taken_by() ? change(number, action, old) : ia2_sealed.real.sigaction(number, action, old);
}

IA2_PUBLIC int __sigaction(int number, const struct sigaction *action, struct sigaction *old) __THROW
    __attribute__((alias("sigaction")));

/* ---- the older ones, as glibc makes them of sigaction() (signal/, sysdeps/posix/) --------------------------------------------------------- */

static __sighandler_t set(int number, const struct sigaction *action) {
    struct sigaction old;
    return change(number, action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

static bool is_interrupting(int number) {
    uint32_t before = ia2_gate_open();
    bool marked = atomic_load_explicit(&interrupting, memory_order_relaxed) >> (number - 1) & 1;
    ia2_gate_close(before);
    return marked;
}

IA2_PUBLIC __sighandler_t signal(int number, __sighandler_t handler) {
    ia2_real_resolve();
    if (!ia2_signals_taken_by()) {
        return ia2_sealed.real.signal(number, handler);
    }
    if (handler == SIG_ERR || !is_valid(number)) {
        fail(EINVAL);
        return SIG_ERR;
    }
    struct sigaction action = {.sa_handler = handler, .sa_flags = is_interrupting(number) ? 0 : SA_RESTART};
    sigaddset(&action.sa_mask, number);
    return set(number, &action);
}

IA2_PUBLIC __sighandler_t bsd_signal(int number, __sighandler_t handler) __THROW __attribute__((alias("signal")));
IA2_PUBLIC __sighandler_t ssignal(int number, __sighandler_t handler) __THROW __attribute__((alias("signal")));

IA2_PUBLIC __sighandler_t sysv_signal(int number, __sighandler_t handler) {
    ia2_real_resolve();
    if (!ia2_signals_taken_by()) {
        return ia2_sealed.real.sysv_signal(number, handler);
    }
    if (handler == SIG_ERR || !is_valid(number)) {
        fail(EINVAL);
        return SIG_ERR;
    }
    const struct sigaction action = {.sa_handler = handler,
                                     .sa_flags = (int)(SA_RESETHAND | SA_NODEFER | SA_INTERRUPT)};
    return set(number, &action);
}

IA2_PUBLIC __sighandler_t __sysv_signal(int number, __sighandler_t handler) __THROW
    __attribute__((alias("sysv_signal")));

/* Blocks or unblocks one signal. Returns 1 where it was blocked before, 0 where not, -1 with errno set. */
static int mask_one(int how, int number) {
    sigset_t one;
    sigset_t before;
    sigemptyset(&one);
    return sigaddset(&one, number) == 0 && sigprocmask(how, &one, &before) == 0 ? sigismember(&before, number) : -1;
}

IA2_PUBLIC __sighandler_t sigset(int number, __sighandler_t handler) {
    ia2_real_resolve();
    if (!ia2_signals_taken_by()) {
        return ia2_sealed.real.sigset(number, handler);
    }
    const struct sigaction action = {.sa_handler = handler};
    const bool hold = handler == SIG_HOLD;
    if (!hold && handler == SIG_ERR) {
        fail(EINVAL);
        return SIG_ERR;
    }
    int blocked = hold ? mask_one(SIG_BLOCK, number) : 0;
    if (blocked != 0) {
        return blocked > 0 ? SIG_HOLD : SIG_ERR;
    }
    __sighandler_t old = set(number, hold ? NULL : &action);
    if (hold || old == SIG_ERR) {
        return old;
    }
    blocked = mask_one(SIG_UNBLOCK, number);
    return blocked < 0 ? SIG_ERR : blocked ? SIG_HOLD : old;
}

IA2_PUBLIC int sigignore(int number) {
    ia2_real_resolve();
    const struct sigaction action = {.sa_handler = SIG_IGN};
    return ia2_signals_taken_by() ? change(number, &action, NULL) : ia2_sealed.real.sigignore(number);
}

/* glibc marks the signal where only its own signal() can see it, so that one is asked in any case. */
IA2_PUBLIC int siginterrupt(int number, int interrupt) {
    ia2_real_resolve();
    struct sigaction action;
    int result = ia2_sealed.real.siginterrupt(number, interrupt);
    if (result != 0 || !is_valid(number)) {
        return result;
    }
    const uint64_t bit = 1ul << (number - 1);
    uint32_t before = ia2_gate_open();
    if (interrupt) {
        atomic_fetch_or_explicit(&interrupting, bit, memory_order_relaxed);
    } else {
        atomic_fetch_and_explicit(&interrupting, ~bit, memory_order_relaxed);
    }
    ia2_gate_close(before);
    if (!ia2_signals_taken_by() || change(number, NULL, &action) != 0) {
        return 0;
    }
    action.sa_flags = interrupt ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
    return change(number, &action, NULL);
}

/* ---- the alternate stack -------------------------------------------------------------------------------------------------------------- */

static int change_stack(const stack_t *stack, stack_t *old, uintptr_t sp) {
    stack_t wanted;
    stack_t found;
    const bool mine = ia2_signals_taken_by() == ia2_getpid();
    long result = 0;
    if (stack) {
        wanted = *stack;
    }
    uint32_t before = ia2_gate_open();
    if (mine) {
        result = ia2_guest_change_stack(stack ? &wanted : NULL, &found, sp);
    } else {
        result = ia2_syscall2(SYS_sigaltstack, (long)(stack ? &wanted : NULL), (long)&found);
        ia2_guest_translate_stack(&found);
    }
    ia2_gate_close(before);
    if (result != 0) {
        return fail((int)-result);
    }
    if (old) {
        *old = found;
    }
    return 0;
}

IA2_PUBLIC int sigaltstack(const stack_t *stack, stack_t *old) {
    ia2_real_resolve();
    return ia2_signals_taken_by() ? change_stack(stack, old, (uintptr_t)__builtin_frame_address(0))
                                  : ia2_sealed.real.sigaltstack(stack, old);
}
