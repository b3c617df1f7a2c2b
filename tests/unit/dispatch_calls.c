/* System calls under dispatch where nothing is closed: the program notices nothing. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dispatch.h"
#include "dispatch_guest.h"

Test(dispatch_calls, results_and_errors_are_the_kernels) {
    pid_t self = getpid();
    guest_begin();
    errno = 4711;
    pid_t seen = getpid();
    int error = errno;
    int failed = close(-1);
    int failure = errno;
    long bad = syscall(SYS_uname, 1);
    int fault = errno;
    long unknown = syscall(9999);
    int missing = errno;
    guest_end();
    cr_expect_eq(seen, self);
    cr_expect_eq(error, 4711);
    cr_expect(failed == -1 && failure == EBADF);
    cr_expect(bad == -1 && fault == EFAULT);
    cr_expect(unknown == -1 && missing == ENOSYS);
    cr_expect_eq(guest_dispatched, 4);
    cr_expect_eq(guest_touches, 0);
}

Test(dispatch_calls, interception_is_switched_by_a_store) {
    guest_begin();
    cr_assert(ia2_dispatch_armed());
    bool was = ia2_dispatch_intercept(false);
    int before = guest_dispatched;
    getppid();
    int off = guest_dispatched;
    bool not = ia2_dispatch_intercept(true);
    getppid();
    int on = guest_dispatched;
    guest_end();
    getppid();
    cr_expect(was && !not);
    cr_expect(off == before && on == off + 1 && guest_dispatched == on);
    cr_expect_not(ia2_dispatch_armed());
}

/* Registers of code that is not ours, before and after a system call in it. */
struct registers {
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, rcx, r11;
};

/* void f(struct registers *): loads all but RCX and R11, makes the call with the carry flag set, stores all of them; R11 as the
 * difference between what the call left there and the flags. To be copied to where it is not the runtime's text. */
__asm__(".text\n"
        "call_with_registers:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
        "mov (%rdi), %rax; mov 16(%rdi), %rsi; mov 24(%rdi), %rdx; mov 32(%rdi), %r10; mov 40(%rdi), %r8\n"
        "mov 48(%rdi), %r9; mov 56(%rdi), %rbx; mov 64(%rdi), %rbp; mov 72(%rdi), %r12; mov 80(%rdi), %r13\n"
        "mov 88(%rdi), %r14; mov 96(%rdi), %r15; mov 8(%rdi), %rdi\n"
        "stc; syscall\n"
        "push %rdi; pushfq; mov 16(%rsp), %rdi\n"
        "mov %rax, (%rdi); mov %rsi, 16(%rdi); mov %rdx, 24(%rdi); mov %r10, 32(%rdi); mov %r8, 40(%rdi)\n"
        "mov %r9, 48(%rdi); mov %rbx, 56(%rdi); mov %rbp, 64(%rdi); mov %r12, 72(%rdi); mov %r13, 80(%rdi)\n"
        "mov %r14, 88(%rdi); mov %r15, 96(%rdi); mov %rcx, 104(%rdi)\n"
        "pop %rax; xor %rax, %r11; mov %r11, 112(%rdi); pop %rax; mov %rax, 8(%rdi)\n"
        "pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
        "call_with_registers_end:\n");
extern const char call_with_registers[], call_with_registers_end[];

static void call_it(struct registers *registers) {
    static void *code;
    if (!code) {
        code = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(code, MAP_FAILED);
        memcpy(code, call_with_registers, (size_t)(call_with_registers_end - call_with_registers));
    }
    ((void (*)(struct registers *))code)(registers);
}

static void expect_same_registers(long number, long first, long second, long third) {
    const struct registers start = {(uint64_t)number,
                                    (uint64_t)first,
                                    (uint64_t)second,
                                    (uint64_t)third,
                                    110,
                                    108,
                                    109,
                                    103,
                                    105,
                                    112,
                                    113,
                                    114,
                                    115,
                                    0,
                                    0};
    struct registers without = start;
    struct registers with = start;
    call_it(&without);
    guest_begin();
    call_it(&with);
    guest_end();
    cr_expect_eq(guest_dispatched, 1);
    cr_expect_arr_eq(&with, &without, sizeof with, "call %ld", number);
    guest_dispatched = 0;
}

Test(dispatch_calls, no_register_differs_afterwards) {
    expect_same_registers(SYS_getpid, 1, 2, 3);
    expect_same_registers(SYS_close, -1, 2, 3);
    expect_same_registers(SYS_umask, 022, 2, 3);
    expect_same_registers(SYS_tgkill, getpid(), gettid(), 0); /* through a trampoline */
    expect_same_registers(0x7fffffff, 1, 2, 3);
}

Test(dispatch_calls, vector_registers_survive) {
    char kept[16] = "fifteen letters";
    char after[16];
    guest_begin();
    __asm__ volatile("movups %1, %%xmm5; mov $39, %%eax; mov %2, %%rcx; call *%%rcx; movups %%xmm5, %0"
                     : "=m"(after)
                     : "m"(kept), "r"((void *)getpid)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm5", "memory");
    guest_end();
    cr_expect_arr_eq(kept, after, sizeof kept);
}

Test(dispatch_calls, a_hundred_thousand_calls) {
    pid_t self = getpid();
    guest_begin();
    for (int i = 0; i < 100000; i++) {
        if (getpid() != self) {
            cr_assert(false, "call %d", i);
        }
    }
    guest_end();
    cr_expect_eq(guest_dispatched, 100000);
}
