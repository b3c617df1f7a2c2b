/* What a thread that runs destructors needs, so that signals of ours reach it. */
#include <signal.h>

#include "dispatch.h"
#include "signals.h"
#include "system.h"

static void take_stack(struct ia2_thread *thread) {
    ia2_syscall2(SYS_sigaltstack, 0, (long)&thread->program_stack);
    if (thread->program_stack.ss_flags & SS_ONSTACK) {
        return; /* exit was called from a handler that runs there: it cannot be changed now */
    }
    if (!thread->alternate_stack) {
        thread->alternate_stack =
            ia2_map_memory(IA2_ALTERNATE_STACK); /* shared memory: handlers start with key 0 only */
    }
    const stack_t ours = {.ss_sp = thread->alternate_stack, .ss_size = IA2_ALTERNATE_STACK};
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
