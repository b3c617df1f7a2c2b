#include "guard.h"

#include <signal.h>

#include "system.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define TRAP_FLAG 0x100      /* Intel SDM volume 1, "EFLAGS register" */
#define DIRECTION_FLAG 0x400 /* clear at every call (psABI 3.2.1) */

/* What guard.S leaves on the stack. */
struct frame {
    struct frame *previous;
    uintptr_t shadow_stack;
    uintptr_t saved[6]; /* r15, r14, r13, r12, rbx, rbp */
    uintptr_t return_address;
};

extern __thread struct frame *ia2_guard_innermost;
extern const char ia2_guard_landing[];

__thread struct frame *ia2_guard_innermost;

/* Frames that are abandoned do not take the red zones back that they had around their variables. */
static void forget_red_zones(uintptr_t from, uintptr_t to) {
#ifdef __SANITIZE_ADDRESS__
    if (from < to && to - from < 0x100000) {
        __asan_unpoison_memory_region((void *)from, to - from);
    }
#else
    (void)from;
    (void)to;
#endif
}

bool ia2_guard_caught(ucontext_t *context) {
    if (!ia2_guard_innermost) {
        return false;
    }
    greg_t *registers = context->uc_mcontext.gregs;
    forget_red_zones((uintptr_t)registers[REG_RSP], (uintptr_t)ia2_guard_innermost);
    registers[REG_RIP] = (greg_t)(uintptr_t)ia2_guard_landing;
    registers[REG_RSP] = (greg_t)(uintptr_t)ia2_guard_innermost;
    registers[REG_EFL] &= ~(greg_t)(TRAP_FLAG | DIRECTION_FLAG);
    return true;
}

uint64_t ia2_guard_unblock(void) {
    uint64_t faults = (uint64_t)1 << (SIGSEGV - 1) | (uint64_t)1 << (SIGBUS - 1);
    uint64_t before = 0;
    ia2_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&faults, (long)&before, sizeof faults);
    return before;
}

void ia2_guard_restore(uint64_t mask) { ia2_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask); }
