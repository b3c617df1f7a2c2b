/* What a thread that runs destructors needs, so that signals of ours reach it. */
#include <signal.h>

#include "dispatch.h"
#include "signals.h"
#include "system.h"

#define ROOM_FOR_CALL 4096u /* for the frames between a handler of ours and the program's */

stack_t ia2_signals_stack(const struct ia2_thread *thread) {
    return (stack_t){.ss_sp = thread->alternate_stack, .ss_size = thread->our_stack};
}

/* sigaltstack, which the kernel refuses to a thread whose stack pointer is on the present one. The call itself needs no stack, and a
 * signal that came meanwhile would find one without anything on it. */
static void set_stack_from(uintptr_t sp, const stack_t *stack) {
    const uint64_t all = UINT64_MAX;
    uint64_t mask = 0;
    long result = SYS_sigaltstack;
    ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&mask, sizeof all);
    __asm__ volatile("xchgq %%rsp, %[sp]\n\t"
                     "syscall\n\t"
                     "xchgq %%rsp, %[sp]"
                     : "+a"(result), [sp] "+b"(sp)
                     : "D"(stack), "S"(0)
                     : "rcx", "r11", "memory");
    ia2_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask);
}

static void use_our_stack(struct ia2_thread *thread, uint32_t size, uintptr_t other) {
    thread->our_stack = size;
    const stack_t ours = ia2_signals_stack(thread);
    set_stack_from(other, &ours);
}

uint32_t ia2_signals_keep(struct ia2_thread *thread, uintptr_t sp, uintptr_t other) {
    const uint32_t before = thread->our_stack;
    const uintptr_t room = sp - (uintptr_t)thread->alternate_stack;
    if (room < before && room > 2 * ROOM_FOR_CALL) {
        use_our_stack(thread, (uint32_t)room - ROOM_FOR_CALL, other);
    }
    return before;
}

void ia2_signals_unkeep(struct ia2_thread *thread, uint32_t before, uintptr_t other) {
    if (thread->our_stack != before) {
        use_our_stack(thread, before, other);
    }
}

static void take_stack(struct ia2_thread *thread) {
    ia2_syscall2(SYS_sigaltstack, 0, (long)&thread->program_stack);
    if (thread->program_stack.ss_flags & SS_ONSTACK) {
        return; /* exit was called from a handler that runs there: it cannot be changed now */
    }
    if (!thread->alternate_stack) {
        thread->alternate_stack =
            ia2_map_memory(IA2_ALTERNATE_STACK); /* shared memory: handlers start with key 0 only */
    }
    thread->our_stack = IA2_ALTERNATE_STACK;
    const stack_t ours = ia2_signals_stack(thread);
    thread->has_our_stack = thread->alternate_stack && ia2_syscall2(SYS_sigaltstack, (long)&ours, 0) == 0;
}

static void give_stack_back(struct ia2_thread *thread) {
    if (thread->has_our_stack) {
        ia2_syscall2(SYS_sigaltstack, (long)&thread->program_stack, 0);
        thread->has_our_stack = false;
    }
}

void ia2_signals_guard_thread(struct ia2_thread *thread, bool on) {
    const uint64_t forced = IA2_UNBLOCKED;
    if (on && thread->guarded++ == 0) {
        take_stack(thread);
        ia2_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&forced, (long)&thread->program_mask, sizeof forced);
        if (ia2_sealed.enforcing) {
            ia2_dispatch_arm(); /* without it, what system calls meet is not reported */
        }
    } else if (!on && thread->guarded > 0 && --thread->guarded == 0) {
        const uint64_t blocked = thread->program_mask & IA2_UNBLOCKED;
        ia2_dispatch_disarm();
        if (blocked) {
            ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&blocked, 0, sizeof blocked);
        }
        give_stack_back(thread);
    }
}
