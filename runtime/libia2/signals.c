#include "signals.h"

#include <errno.h>
#include <sys/mman.h>

#include "attach.h"
#include "backend.h"
#include "dispatch.h"
#include "frame.h"
#include "gate.h"
#include "guard.h"
#include "guest.h"
#include "kernel_action.h"
#include "objects.h"
#include "run.h"
#include "switch.h"
#include "system.h"

#define SIGNALS 64
#define ALTERNATE_STACK (64ul << 10)
#define RED_ZONE 128u /* System V x86-64 ABI, section 3.2.2 */
#define BIT(number) (1ul << ((number) - 1))

/* What must never be blocked in a thread that runs destructors: the kernel kills a process whose forced signal is blocked. */
#define FORCED (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGTRAP) | BIT(SIGSYS))

static struct ia2_kernel_action program_action[SIGNALS + 1]; /* what the program wants, of those that we took */
static bool taken[SIGNALS + 1];
static uint32_t takers; /* parts of the runtime that want them taken */

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

static long install_own(int number) {
    /* SIGSYS on the ordinary stack, unless that is a compartment's: a handler of the program's that interrupts a blocking call must find
     * room there. */
    unsigned long stack = number == SIGSYS && !ia2_host_attached() ? 0 : SA_ONSTACK;
    const struct ia2_kernel_action action = {
        .handler = (uintptr_t)own_handler(number),
        .flags = SA_SIGINFO | SA_NODEFER | SA_RESTART | IA2_SA_RESTORER | stack,
        .restorer = (uintptr_t)ia2_sigreturn,
    };
    return set_action(number, &action, NULL);
}

/* Our function around the program's handler, delivered as the program wants its own delivered. */
static long install_around(int number, const struct ia2_kernel_action *wanted) {
    const struct ia2_kernel_action action = {
        .handler = (uintptr_t)on_program_signal,
        .flags = wanted->flags | SA_SIGINFO | IA2_SA_RESTORER,
        .restorer = (uintptr_t)ia2_sigreturn,
        .mask = wanted->mask & ~FORCED,
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

const char *ia2_signals_take(void) {
    if (takers++ > 0) {
        return NULL;
    }
    for (int number = 1; number <= SIGNALS; number++) {
        take(number);
    }
    if (!taken[SIGSEGV] || !taken[SIGTRAP]) {
        ia2_signals_give_back();
        return "no handler of faults can be set";
    }
    return NULL;
}

void ia2_signals_give_back(void) {
    if (takers == 0 || --takers > 0) {
        return;
    }
    for (int number = 1; number <= SIGNALS; number++) {
        if (taken[number]) {
            set_action(number, &program_action[number], NULL);
            taken[number] = false;
        }
    }
}

uintptr_t ia2_signals_wanted(int number) { return program_action[number].handler; }

/* ---- the thread that runs destructors -------------------------------------------------------------------------------------------- */

static void take_stack(struct ia2_thread *thread) {
    ia2_syscall2(SYS_sigaltstack, 0, (long)&thread->program_stack);
    if (thread->program_stack.ss_flags & SS_ONSTACK) {
        return; /* exit was called from a handler that runs there: it cannot be changed now */
    }
    if (!thread->alternate_stack) {
        thread->alternate_stack = ia2_map_memory(ALTERNATE_STACK); /* shared memory: handlers start with key 0 only */
    }
    const stack_t ours = {.ss_sp = thread->alternate_stack, .ss_size = ALTERNATE_STACK};
    thread->has_our_stack = thread->alternate_stack && ia2_syscall2(SYS_sigaltstack, (long)&ours, 0) == 0;
}

static void give_stack_back(struct ia2_thread *thread) {
    if (thread->has_our_stack) {
        ia2_syscall2(SYS_sigaltstack, (long)&thread->program_stack, 0);
        thread->has_our_stack = false;
    }
}

void ia2_signals_guard_thread(struct ia2_thread *thread, bool on) {
    const uint64_t forced = FORCED;
    if (on && thread->guarded++ == 0) {
        take_stack(thread);
        ia2_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&forced, (long)&thread->program_mask, sizeof forced);
        if (ia2_sealed.enforcing) {
            ia2_dispatch_arm(); /* without it, what system calls meet is not reported */
        }
    } else if (!on && thread->guarded > 0 && --thread->guarded == 0) {
        const uint64_t blocked = thread->program_mask & FORCED;
        ia2_dispatch_disarm();
        if (blocked) {
            ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&blocked, 0, sizeof blocked);
        }
        give_stack_back(thread);
    }
}

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
    if (!thread->has_our_stack || here - ours >= ALTERNATE_STACK || interrupted - ours < ALTERNATE_STACK) {
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
    const bool intercepted = ia2_dispatch_intercept(false);
    const bool enforced = thread->closing && !ia2_close_enter(thread, &rights);
    const struct ia2_call call = {.function = handler,
                                  .arguments = {(uintptr_t)(unsigned)number, (uintptr_t)info, (uintptr_t)context},
                                  .stack = stack_for(thread, context),
                                  .slot = slot,
                                  .place = slot + IA2_THREADS};
    thread->intercepted = before.in_handler ? before.intercepted : intercepted;
    thread->handler_sp = call.stack ? call.stack : (uintptr_t)__builtin_frame_address(0);
    thread->in_handler++;
    thread->resting = false;
    call_with_rights(thread, &call, enforced ? &rights : NULL);
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

void ia2_signals_handler_left(struct ia2_thread *thread, const ucontext_t *context) {
    uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    uintptr_t ours = (uintptr_t)thread->alternate_stack;
    bool was_on_ours = thread->has_our_stack && thread->handler_sp - ours < ALTERNATE_STACK;
    bool is_on_ours = thread->has_our_stack && sp - ours < ALTERNATE_STACK;
    bool left = was_on_ours ? !is_on_ours : !is_on_ours && sp > thread->handler_sp;
    if (thread->in_handler == 0 || !left) {
        return;
    }
    thread->in_handler = 0;
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
        program_action[number].flags &= ~(unsigned long)SA_SIGINFO;
    }
    bool own = own_handler(number) != NULL;
    if (own) {
        install_own(number); /* this was one fault's way to the program; the next one is ours again */
    }
    if (is_handler(handler)) {
        call_handler(thread, handler, number, info, context);
    }
    if (own && thread->has_our_stack) {
        ((ucontext_t *)context)->uc_stack = (stack_t){.ss_sp = thread->alternate_stack, .ss_size = ALTERNATE_STACK};
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

/* ---- what the program asks for while its signals are ours (guest.h) -------------------------------------------------------------- */

struct copy {
    void *to;
    const void *from;
    size_t size;
};

static void copy_bytes(void *argument) {
    const struct copy *copy = argument;
    for (size_t i = 0; i < copy->size; i++) {
        ((volatile char *)copy->to)[i] = ((const volatile char *)copy->from)[i];
    }
}

static bool copy_safely(void *to, const void *from, size_t size) {
    struct copy copy = {to, from, size};
    return ia2_guard_run(copy_bytes, &copy);
}

static void change_action(int number, const struct ia2_kernel_action *action) {
    bool hang = number == IA2_HANG_SIGNAL;
    if (is_handler(action->handler) && (!own_handler(number) || hang)) {
        taken[number] = install_around(number, action) == 0;
    } else if (!own_handler(number) || hang) {
        set_action(number, action, NULL);
        taken[number] = false;
    }
    program_action[number] = *action;
}

long ia2_guest_sigaction(int number, const void *action, void *old, size_t size) {
    bool ordinary = number >= 1 && number <= SIGNALS && number != SIGKILL && number != SIGSTOP;
    if (!ia2_is_closing() || !ordinary || size != sizeof(uint64_t)) {
        return ia2_syscall4(SYS_rt_sigaction, number, (long)action, (long)old, (long)size);
    }
    struct ia2_kernel_action wanted;
    struct ia2_kernel_action before = program_action[number];
    if (!taken[number]) {
        set_action(number, NULL, &before);
    }
    if (action && !copy_safely(&wanted, action, sizeof wanted)) {
        return -EFAULT;
    }
    if (action) {
        change_action(number, &wanted);
    }
    return old && !copy_safely(old, &before, sizeof before) ? -EFAULT : 0;
}

long ia2_guest_sigprocmask(int how, const void *set, void *old, size_t size) {
    uint64_t mask = 0;
    uint64_t before = 0;
    if (size != sizeof mask) {
        return -EINVAL;
    }
    if (set && !copy_safely(&mask, set, sizeof mask)) {
        return -EFAULT;
    }
    if (how != SIG_UNBLOCK) {
        mask &= ~FORCED;
    }
    long result = ia2_syscall4(SYS_rt_sigprocmask, how, set ? (long)&mask : 0, (long)&before, sizeof mask);
    return result == 0 && old && !copy_safely(old, &before, sizeof before) ? -EFAULT : result;
}

long ia2_guest_sigaltstack(const void *stack, void *old, ucontext_t *context) {
    (void)context;
    struct ia2_thread *thread = ia2_self();
    if (!thread->has_our_stack) {
        return ia2_syscall2(SYS_sigaltstack, (long)stack, (long)old);
    }
    stack_t before = thread->program_stack;
    stack_t wanted = before;
    if (stack && !copy_safely(&wanted, stack, sizeof wanted)) {
        return -EFAULT;
    }
    thread->program_stack = wanted;
    return old && !copy_safely(old, &before, sizeof before) ? -EFAULT : 0;
}

/* Calls after which there is other memory to close. */
static bool changes_mappings(long number) {
    return number == SYS_mprotect || number == SYS_pkey_mprotect || number == SYS_mmap || number == SYS_munmap ||
           number == SYS_mremap;
}

long ia2_syscall_as(const ucontext_t *context, long number, const long arguments[6]) {
    const uint32_t bits = ia2_sealed.runtime_bits;
    const uint32_t slot = ia2_thread_slot(ia2_self());
    uint32_t wanted = 0;
    if (bits) {
        wanted = ia2_sealed.wanted[slot];
        ia2_sealed.wanted[slot] = ia2_frame_pkru(context);
        ia2_pkru_close(ia2_sealed.wanted[slot], slot);
    }
    long result =
        ia2_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    if (bits) {
        ia2_handler_open();
        ia2_sealed.wanted[slot] = wanted;
    }
    if (changes_mappings(number)) {
        ia2_pieces_change();
    }
    return result;
}
