/* System calls of the program that are dispatched or hooked: its view of its signals, and how they are made with its rights. */
#include "guest.h"

#include <errno.h>
#include <signal.h>

#include "backend.h"
#include "frame.h"
#include "gate.h"
#include "guard.h"
#include "kernel_action.h"
#include "signals.h"
#include "system.h"
#include "thread.h"

#define LEAST_STACK 2048u /* the kernel's MINSIGSTKSZ; libc's may be a system call */
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

/* ---- with the rights of the interrupted code ---- */

/* From here to end_as() the thread has no more rights than what it interrupted, the runtime's own memory not among them; a handler starts
 * with less, so that it could not even follow the program's pointers into its static data. Returns what end_as() takes. */
static uint32_t begin_as(const ucontext_t *context) {
    uint32_t wanted = 0;
    if (ia2_sealed.runtime_bits) {
        const uint32_t slot = ia2_thread_slot(ia2_self());
        wanted = ia2_sealed.wanted[slot];
        ia2_sealed.wanted[slot] = ia2_frame_pkru(context);
        ia2_pkru_close(ia2_sealed.wanted[slot], slot);
    }
    ia2_gate_barrier();
    return wanted;
}

static void end_as(uint32_t wanted) {
    ia2_handler_open();
    if (ia2_sealed.runtime_bits) {
        ia2_sealed.wanted[ia2_thread_slot(ia2_self())] = wanted;
    }
}

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

/* One side is the program's, the other on our stack. */
static bool copy_as(const ucontext_t *context, void *to, const void *from, size_t size) {
    struct copy copy = {to, from, size};
    const uint32_t wanted = begin_as(context);
    bool copied = ia2_guard_run(copy_bytes, &copy);
    end_as(wanted);
    return copied;
}

long ia2_guest_sigaction(const ucontext_t *context, int number, const void *action, void *old, size_t size) {
    struct ia2_kernel_action wanted;
    struct ia2_kernel_action before;
    if (size != sizeof before.mask) {
        return -EINVAL;
    }
    if (action && !copy_as(context, &wanted, action, sizeof wanted)) {
        return -EFAULT;
    }
    long result = ia2_signals_change(number, action ? &wanted : NULL, &before);
    return result == 0 && old && !copy_as(context, old, &before, sizeof before) ? -EFAULT : result;
}

long ia2_guest_sigprocmask(const ucontext_t *context, int how, const void *set, void *old, size_t size) {
    uint64_t mask = 0;
    uint64_t before = 0;
    if (size != sizeof mask) {
        return -EINVAL;
    }
    if (set && !copy_as(context, &mask, set, sizeof mask)) {
        return -EFAULT;
    }
    if (how != SIG_UNBLOCK) {
        mask &= ~IA2_UNBLOCKED;
    }
    long result = ia2_syscall4(SYS_rt_sigprocmask, how, set ? (long)&mask : 0, (long)&before, sizeof mask);
    return result == 0 && old && !copy_as(context, old, &before, sizeof before) ? -EFAULT : result;
}

/* ---- the alternate stack (kernel/signal.c, do_sigaltstack) ---------------------------------------------------------------------------- */

static bool is_on(const stack_t *stack, uintptr_t sp) {
    return !((unsigned)stack->ss_flags & SS_AUTODISARM) && sp > (uintptr_t)stack->ss_sp &&
           sp - (uintptr_t)stack->ss_sp <= stack->ss_size;
}

static long change_stack(stack_t *stack, const stack_t *wanted, uintptr_t sp) {
    const unsigned mode = (unsigned)wanted->ss_flags & ~SS_AUTODISARM;
    if (is_on(stack, sp)) {
        return -EPERM;
    }
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) {
        return -EINVAL;
    }
    if (mode != SS_DISABLE && wanted->ss_size < LEAST_STACK) {
        return -ENOMEM;
    }
    *stack = *wanted;
    stack->ss_flags = (int)((unsigned)wanted->ss_flags & (SS_AUTODISARM | SS_DISABLE));
    if (mode == SS_DISABLE) {
        stack->ss_sp = NULL;
        stack->ss_size = 0;
    }
    return 0;
}

long ia2_guest_change_stack(const stack_t *wanted, stack_t *before, uintptr_t sp) {
    struct ia2_thread *thread = ia2_self();
    if (!thread->has_our_stack) {
        return ia2_syscall2(SYS_sigaltstack, (long)wanted, (long)before);
    }
    *before = thread->program_stack;
    before->ss_flags |= is_on(before, sp) ? SS_ONSTACK : 0;
    return wanted ? change_stack(&thread->program_stack, wanted, sp) : 0;
}

void ia2_guest_translate_stack(stack_t *stack) {
    const struct ia2_thread *thread = ia2_self();
    if (thread->has_our_stack && stack->ss_sp == thread->alternate_stack) {
        *stack = thread->program_stack;
    }
}

long ia2_guest_sigaltstack(const void *stack, void *old, ucontext_t *context) {
    stack_t wanted;
    stack_t before;
    if (stack && !copy_as(context, &wanted, stack, sizeof wanted)) {
        return -EFAULT;
    }
    const uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    long result = ia2_guest_change_stack(stack ? &wanted : NULL, &before, sp);
    return result == 0 && old && !copy_as(context, old, &before, sizeof before) ? -EFAULT : result;
}

/* ---- the call itself ---- */

/* Calls after which there is other memory to close. */
static bool changes_mappings(long number) {
    return number == SYS_mprotect || number == SYS_pkey_mprotect || number == SYS_mmap || number == SYS_munmap ||
           number == SYS_mremap;
}

long ia2_syscall_as(const ucontext_t *context, long number, const long arguments[6]) {
    const uint32_t wanted = begin_as(context);
    long result =
        ia2_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    end_as(wanted);
    if (changes_mappings(number)) {
        ia2_pieces_change();
    }
    return result;
}
