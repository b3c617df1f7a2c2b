#include "signals.h"

#include <errno.h>
#include <sys/mman.h>

#include "attach.h"
#include "backend.h"
#include "dispatch.h"
#include "gate.h"
#include "kernel_action.h"
#include "objects.h"
#include "run.h"
#include "switch.h"
#include "system.h"
#include "vault.h"

#define SIGNALS 64
#define RED_ZONE 128u /* System V x86-64 ABI, section 3.2.2 */
#define BIT(number) (1ul << ((number) - 1))
#define EXPOSE_TAGBITS 0x800u /* SA_EXPOSE_TAGBITS, Linux 5.11 */

static struct ia2_kernel_action
    program_action[SIGNALS + 1] IA2_LARGE; /* what the program wants, of those that we took */
static bool taken[SIGNALS + 1];
static uint32_t takers;   /* parts of the runtime that want them taken */
static ia2_lock changing; /* of all that, with all signals of the thread held: a handler may want the same */

_Atomic int ia2_signals_taker[IA2_PAGE / sizeof(int)] __attribute__((aligned(IA2_PAGE)));

static long set_action(int number, const struct ia2_kernel_action *action, struct ia2_kernel_action *old) {
    return ia2_syscall4(SYS_rt_sigaction, number, (long)action, (long)old, sizeof action->mask);
}

static bool is_handler(uintptr_t handler) { return handler != (uintptr_t)SIG_DFL && handler != (uintptr_t)SIG_IGN; }

static void on_program_signal(int number, siginfo_t *info, void *context);

/* Our own handler for this signal; NULL: only the program's matters. */
static void (*own_handler(int number))(int, siginfo_t *, void *) {
    switch (number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
        return ia2_on_fault;
    case SIGTRAP:
        return ia2_on_trap;
    case SIGSYS:
        return ia2_on_dispatch;
    case IA2_HANG_SIGNAL:
        return ia2_on_hang;
    default:
        return NULL;
    }
}

/* Is this, of the kernel's, ours in place of the program's? Also after SA_RESETHAND, which changes the handler and nothing else. */
static bool stands_for(int number, const struct ia2_kernel_action *action) {
    const uintptr_t handler = action->handler;
    const uintptr_t own = (uintptr_t)own_handler(number);
    bool reset = taken[number] && !handler && !program_action[number].handler; /* SIG_DFL */
    return reset || handler == (uintptr_t)on_program_signal || (own && handler == own);
}

static long install_own(int number) {
    /* SIGSYS on the ordinary stack, unless that is a compartment's: a handler of the program's that interrupts a blocking call must find
     * room there. */
    unsigned long stack = number == SIGSYS && !ia2_host_attached() ? 0 : SA_ONSTACK;
    const struct ia2_kernel_action action = {
        .handler = (uintptr_t)own_handler(number),
        .flags = SA_SIGINFO | SA_NODEFER | SA_RESTART | IA2_SA_RESTORER | stack,
        .restorer = (uintptr_t)ia2_sigaction_return,
    };
    return set_action(number, &action, NULL);
}

/* Our function around the program's handler, delivered as the program wants its own delivered. */
static long install_around(int number, const struct ia2_kernel_action *wanted) {
    const struct ia2_kernel_action action = {
        .handler = (uintptr_t)on_program_signal,
        .flags = wanted->flags | SA_SIGINFO | IA2_SA_RESTORER,
        .restorer = (uintptr_t)ia2_sigaction_return,
        .mask = wanted->mask & ~IA2_UNBLOCKED,
    };
    return set_action(number, &action, NULL);
}

static void take(int number) {
    struct ia2_kernel_action action;
    if (set_action(number, NULL, &action) != 0) {
        return; /* SIGKILL, SIGSTOP */
    }
    program_action[number] = action;
    if (number == IA2_HANG_SIGNAL && action.handler != (uintptr_t)SIG_DFL) {
        taken[number] = is_handler(action.handler) && install_around(number, &action) == 0;
    } else if (own_handler(number)) {
        taken[number] = install_own(number) == 0;
    } else {
        taken[number] = is_handler(action.handler) && install_around(number, &action) == 0;
    }
}

static uint64_t hold_signals(void) {
    const uint64_t all = UINT64_MAX;
    uint64_t before = 0;
    ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof all);
    return before;
}

static void release_signals(uint64_t mask) {
    ia2_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask);
}

/* Those that are taken already may have been set past us since: by a child after fork, by a system call. */
static void take_all(void) {
    const bool first = takers++ == 0;
    struct ia2_kernel_action now;
    for (int number = 1; number <= SIGNALS; number++) {
        if (first || (set_action(number, NULL, &now) == 0 && !stands_for(number, &now))) {
            take(number);
        }
    }
    atomic_store(&ia2_signals_taker[0], ia2_getpid());
}

/* The program may have set one past us: that one is its own already. */
static void give_back(int number) {
    struct ia2_kernel_action now;
    if (set_action(number, NULL, &now) == 0 && stands_for(number, &now)) {
        set_action(number, &program_action[number], NULL);
    }
    taken[number] = false;
}

static void give_all_back(void) {
    if (takers == 0 || --takers > 0) {
        return;
    }
    atomic_store(&ia2_signals_taker[0], 0);
    for (int number = 1; number <= SIGNALS; number++) {
        if (taken[number]) {
            give_back(number);
        }
    }
}

static void change_all(void (*change)(void)) {
    const uint64_t mask = hold_signals();
    if (ia2_lock_take(&changing)) {
        change();
        ia2_lock_give(&changing);
    }
    release_signals(mask);
}

const char *ia2_signals_take(void) {
    change_all(take_all);
    if (!taken[SIGSEGV] || !taken[SIGTRAP]) {
        ia2_signals_give_back();
        return "no handler of faults can be set";
    }
    return NULL;
}

void ia2_signals_give_back(void) { change_all(give_all_back); }

uintptr_t ia2_signals_wanted(int number) { return program_action[number].handler; }

/* ---- the program's handlers -------------------------------------------------------------------------------------------------------- */

/* The rights of the object that holds the handler; all where none does (code made at run time). */
static struct ia2_rights rights_of_handler(uintptr_t handler) {
    uint32_t slot = ia2_object_at(handler);
    return slot ? (struct ia2_rights){.owner = ia2_object(slot)->compartment} : (struct ia2_rights){.all = true};
}

/* A handler that wants the alternate stack came on ours: it gets the program's own or, where there is none, the stack that it
 * interrupted. 0: it is where it should be. */
static uintptr_t stack_for(const struct ia2_thread *thread, const ucontext_t *context) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t interrupted = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    const stack_t *stack = &thread->program_stack;
    uintptr_t ours = (uintptr_t)thread->alternate_stack;
    if (!thread->has_our_stack || here - ours >= IA2_ALTERNATE_STACK || interrupted - ours < IA2_ALTERNATE_STACK) {
        return 0;
    }
    bool disabled = (stack->ss_flags & SS_DISABLE) || stack->ss_size == 0;
    bool inside = interrupted - (uintptr_t)stack->ss_sp < stack->ss_size;
    uintptr_t end = disabled || inside ? interrupted - RED_ZONE : (uintptr_t)stack->ss_sp + stack->ss_size;
    return end & ~(uintptr_t)15;
}

static void call_with_rights(struct ia2_thread *thread, const struct ia2_call *call, const struct ia2_rights *rights) {
    const bool keys = ia2_sealed.runtime_bits != 0;
    uint32_t wanted = ia2_sealed.runtime_bits; /* a thread that runs no destructor: everything else is open */
    if (rights) {
        ia2_pkru_of_rights(rights, &wanted);
    }
    thread->pkru = wanted;
    if (keys) {
        ia2_sealed.wanted[call->slot] = wanted;
        ia2_sealed.wanted[call->slot + IA2_THREADS] = IA2_PKRU_INITIAL | ia2_sealed.runtime_bits;
        atomic_fetch_add_explicit(&ia2_counters.wrpkru, 2, memory_order_relaxed); /* no destructor's */
        (void)ia2_call_pku(call);
    } else {
        (void)ia2_call(call);
    }
}

static void call_handler(struct ia2_thread *thread, uintptr_t handler, int number, siginfo_t *info, void *context) {
    const struct ia2_thread before = *thread;
    const uint32_t slot = ia2_thread_slot(thread);
    const uintptr_t sp = ia2_call_sp[slot + IA2_THREADS];
    const uint32_t around = ia2_sealed.runtime_bits ? ia2_sealed.wanted[slot + IA2_THREADS] : 0;
    const uint32_t wanted = ia2_sealed.runtime_bits ? ia2_sealed.wanted[slot] : 0;
    const struct ia2_rights rights = rights_of_handler(handler);
    if (ia2_close_lingers()) {
        ia2_close_admit_all(); /* its system calls are not dispatched */
    }
    const bool intercepted = ia2_dispatch_intercept(false);
    const bool enforced = thread->closing && !ia2_close_enter(thread, &rights);
    const struct ia2_call call = {.function = handler,
                                  .arguments = {(uintptr_t)(unsigned)number, (uintptr_t)info, (uintptr_t)context},
                                  .stack = stack_for(thread, context),
                                  .slot = slot,
                                  .place = slot + IA2_THREADS};
    thread->intercepted = before.in_handler ? before.intercepted : intercepted;
    thread->handler_sp = call.stack ? call.stack : (uintptr_t)__builtin_frame_address(0);
    if (thread->closing ||
        thread->depth > 0) { /* else there is nothing to charge it with, and it may leave by longjmp unseen */
        thread->in_handler++;
    }
    thread->resting = false;
    const uint32_t kept =
        call.stack ? ia2_signals_keep(thread, (uintptr_t)__builtin_frame_address(0), call.stack) : thread->our_stack;
    call_with_rights(thread, &call, enforced ? &rights : NULL);
    ia2_signals_unkeep(thread, kept, call.stack);
    ia2_pieces_change(); /* its system calls were not dispatched */
    thread->in_handler = before.in_handler;
    thread->handler_sp = before.handler_sp;
    thread->resting = before.resting;
    ia2_call_sp[slot + IA2_THREADS] = sp;
    if (ia2_sealed.runtime_bits) {
        ia2_sealed.wanted[slot] = wanted;
        ia2_sealed.wanted[slot + IA2_THREADS] = around;
    }
    if (enforced) {
        ia2_close_enter(thread, &before.rights);
    }
    thread->pkru = before.pkru;
    ia2_dispatch_intercept(intercepted);
}

void ia2_signals_handler_left(struct ia2_thread *thread, ucontext_t *context) {
    uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    uintptr_t ours = (uintptr_t)thread->alternate_stack;
    bool was_on_ours = thread->has_our_stack && thread->handler_sp - ours < IA2_ALTERNATE_STACK;
    bool is_on_ours = thread->has_our_stack && sp - ours < IA2_ALTERNATE_STACK;
    bool left = was_on_ours ? !is_on_ours : !is_on_ours && sp > thread->handler_sp;
    if (thread->in_handler == 0 || !left) {
        return;
    }
    thread->in_handler = 0;
    thread->switching = 0; /* that handler may have come in the middle of one, which nobody goes on with */
    if (thread->has_our_stack) {
        thread->our_stack = IA2_ALTERNATE_STACK;
        context->uc_stack = ia2_signals_stack(thread);
    }
    ia2_dispatch_intercept(thread->intercepted);
    if (thread->running) {
        ia2_run_resume_rights(thread);
    }
}

static void on_program_signal(int number, siginfo_t *info, void *context) {
    ia2_handler_open();
    struct ia2_thread *thread = ia2_self();
    uintptr_t handler = program_action[number].handler;
    if (program_action[number].flags & SA_RESETHAND) {
        program_action[number].handler = (uintptr_t)SIG_DFL;
    }
    bool own = own_handler(number) != NULL;
    if (own) {
        install_own(number); /* this was one fault's way to the program; the next one is ours again */
    }
    ucontext_t *interrupted = context;
    if (thread->has_our_stack) {
        /* The handler may look at it and sees its own; the kernel says here, unlike sigaltstack(), nothing of SS_DISABLE. */
        interrupted->uc_stack = thread->program_stack;
        interrupted->uc_stack.ss_flags &= ~SS_DISABLE;
    }
    if (is_handler(handler)) {
        call_handler(thread, handler, number, info, context);
    }
    if (thread->has_our_stack) {
        interrupted->uc_stack = ia2_signals_stack(thread);
    }
}

/* ---- passing a signal on ---------------------------------------------------------------------------------------------------------------- */

/* Sends the very same signal to this thread: it comes when the handler returns. */
static void send_again(int number, const siginfo_t *info, ucontext_t *context) {
    *(uint64_t *)&context->uc_sigmask &= ~BIT(number);
    const uint64_t blocked = BIT(number);
    ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&blocked, 0, sizeof blocked);
    if (ia2_syscall4(SYS_rt_tgsigqueueinfo, ia2_getpid(), ia2_gettid(), number, (long)info) != 0) {
        ia2_syscall3(SYS_tgkill, ia2_getpid(), ia2_gettid(), number);
    }
}

void ia2_signals_end(int number, const siginfo_t *info, ucontext_t *context) {
    const struct ia2_kernel_action by_default = {0};
    set_action(number, &by_default, NULL);
    context->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
    send_again(number, info, context);
}

void ia2_signals_forward(int number, const siginfo_t *info, ucontext_t *context, bool repeats) {
    const struct ia2_thread *thread = ia2_self();
    const struct ia2_kernel_action *wanted = &program_action[number];
    if (wanted->handler == (uintptr_t)SIG_IGN && !repeats) {
        return;
    }
    if (!is_handler(wanted->handler)) {
        set_action(number, wanted->handler == (uintptr_t)SIG_IGN ? &(struct ia2_kernel_action){0} : wanted, NULL);
    } else {
        install_around(number, wanted);
        if (thread->has_our_stack) {
            context->uc_stack = thread->program_stack; /* what sigreturn sets: the handler gets the program's stack */
        }
    }
    if (!repeats) {
        send_again(number, info, context);
    }
}

/* ---- what the program wants -------------------------------------------------------------------------------------------------------------- */

void ia2_signals_translate(int number, struct ia2_kernel_action *action) {
    if (number >= 1 && number <= SIGNALS && stands_for(number, action)) {
        *action = program_action[number];
    }
}

/* As the kernel keeps it (kernel/signal.c, do_sigaction). */
static struct ia2_kernel_action normalised(const struct ia2_kernel_action *action) {
    const unsigned long known = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |
                                SA_RESETHAND | EXPOSE_TAGBITS | IA2_SA_RESTORER;
    struct ia2_kernel_action result = *action;
    result.flags &= known;
    result.mask &= ~(BIT(SIGKILL) | BIT(SIGSTOP));
    return result;
}

/* A handler is known before the kernel calls it, and until it does not any more. */
static long change_action(int number, const struct ia2_kernel_action *action) {
    const struct ia2_kernel_action before = program_action[number];
    bool around = is_handler(action->handler) && (!own_handler(number) || number == IA2_HANG_SIGNAL);
    bool stays = own_handler(number) && number != IA2_HANG_SIGNAL;
    long result = around || stays ? 0 : set_action(number, action, NULL);
    if (result == 0) {
        program_action[number] = normalised(action);
    }
    if (around || stays) {
        result = stays ? install_own(number) : install_around(number, action);
    }
    if (result != 0) {
        program_action[number] = before;
    } else {
        taken[number] = around || stays;
    }
    return result;
}

static long change_locked(int number, const struct ia2_kernel_action *action, struct ia2_kernel_action *before) {
    long result = set_action(number, NULL, before);
    if (result != 0) {
        return result;
    }
    ia2_signals_translate(number, before);
    if (!action) {
        return 0;
    }
    struct ia2_kernel_action wanted = *action;
    if (!(wanted.flags & IA2_SA_RESTORER)) { /* what glibc would have put there, as far as that is known */
        wanted.flags |= IA2_SA_RESTORER;
        wanted.restorer = before->flags & IA2_SA_RESTORER ? before->restorer : (uintptr_t)ia2_sigaction_return;
    }
    return takers > 0 ? change_action(number, &wanted) : set_action(number, &wanted, NULL);
}

long ia2_signals_change(int number, const struct ia2_kernel_action *action, struct ia2_kernel_action *before) {
    if (number < 1 || number > SIGNALS || (action && (number == SIGKILL || number == SIGSTOP))) {
        return -EINVAL;
    }
    uint64_t mask = hold_signals();
    long result = -EAGAIN;
    if (ia2_lock_take(&changing)) {
        result = change_locked(number, action, before);
        ia2_lock_give(&changing);
    }
    release_signals(mask);
    return result;
}
