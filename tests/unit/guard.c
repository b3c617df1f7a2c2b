/* Work that faults: it ends, the rest goes on as if it had returned. Each test is a process of its own. */
#include "guard.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int faults;
static sigjmp_buf back; /* where to go with a fault that was not guarded */
static volatile bool may_go_back;

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    faults++;
    if (ia2_guard_caught(context)) {
        return;
    }
    if (may_go_back) {
        siglongjmp(back, 1);
    }
    _exit(99);
}

static void install(int flags) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | flags};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

static void install_plain(void) { install(0); }

TestSuite(guard, .init = install_plain, .timeout = 20);

/* What faults on purpose: no sanitizer is to find it first. */
#define ON_PURPOSE __attribute__((noinline, no_sanitize("address", "undefined")))

ON_PURPOSE static void write_byte(void *address) { *(volatile char *)address = 1; }
static void add_one(void *number) { ++*(int *)number; }

Test(guard, work_that_ends_is_true) {
    int number = 1;
    cr_expect(ia2_guard_run(add_one, &number));
    cr_expect_eq(number, 2);
    cr_expect_eq(faults, 0);
}

Test(guard, a_fault_is_false) {
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = memfd_create("short", 0);
    char *behind = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    cr_expect_not(ia2_guard_run(write_byte, NULL));
    cr_expect_not(ia2_guard_run(write_byte, (void *)0x4141414141414141), "an address that is not canonical");
    cr_expect_not(ia2_guard_run(write_byte, page), "a page that is read-only");
    cr_expect_not(ia2_guard_run(write_byte, behind), "a file that is too short: SIGBUS");
    cr_expect_not(ia2_guard_run((void (*)(void *))(uintptr_t)0x10, NULL), "a jump to nowhere");
    cr_expect_eq(faults, 5);
}

static void write_then_fault(void *number) {
    *(volatile int *)number = 7;
    write_byte(NULL);
    *(volatile int *)number = 8;
}

Test(guard, what_the_work_wrote_is_there) {
    int number = 0;
    cr_expect_not(ia2_guard_run(write_then_fault, &number));
    cr_expect_eq(number, 7);
}

static void fault_in_the_middle(void *numbers) {
    int *each = numbers;
    each[0] = ia2_guard_run(add_one, &each[3]);
    each[1] = ia2_guard_run(write_then_fault, &each[3]);
    each[2] = ia2_guard_run(add_one, &each[3]);
    if (each[4]) {
        write_byte(NULL);
    }
}

Test(guard, nests) {
    int numbers[5] = {-1, -1, -1, 0, 0};
    cr_expect(ia2_guard_run(fault_in_the_middle, numbers));
    cr_expect_eq(numbers[0], 1);
    cr_expect_eq(numbers[1], 0);
    cr_expect_eq(numbers[2], 1);
    cr_expect_eq(numbers[3], 8);
    numbers[4] = 1;
    cr_expect_not(ia2_guard_run(fault_in_the_middle, numbers), "the outer work faults after the inner one");
    cr_expect_eq(faults, 3);
}

static void fault_deep_down(void *depth) {
    volatile char room[64] = {0};
    if (*(int *)depth == 0) {
        write_byte(NULL);
    }
    if (--*(int *)depth >= 0) {
        fault_deep_down(depth);
        room[1] = room[0]; /* no tail call */
    }
}

Test(guard, calls_are_abandoned) {
    int depth = 1000;
    cr_expect_not(ia2_guard_run(fault_deep_down, &depth));
    cr_expect_eq(depth, 0);
}

/* ---- the machine ---- */

/* Work that changes every register that a function has to keep, sets the direction flag, then faults. */
void spoil_and_fault(void *unused);
__asm__(".text\nspoil_and_fault:\n"
        "movq $-1, %rbx\nmovq $-1, %rbp\nmovq $-1, %r12\nmovq $-1, %r13\nmovq $-1, %r14\nmovq $-1, %r15\n"
        "std\nmovb $0, 0\nret\n");

/* Gives those registers values of their own, runs the work above and says what they are then. */
void run_spoiled(uint64_t seen[8]);
__asm__(".text\nrun_spoiled:\n"
        "pushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r14\npushq %r15\npushq %rdi\n"
        "movq $1, %rbx\nmovq $2, %rbp\nmovq $3, %r12\nmovq $4, %r13\nmovq $5, %r14\nmovq $6, %r15\n"
        "leaq spoil_and_fault(%rip), %rdi\ncall ia2_guard_run\n"
        "popq %rdi\npushfq\npopq %rcx\ncld\n"
        "movq %rbx, (%rdi)\nmovq %rbp, 8(%rdi)\nmovq %r12, 16(%rdi)\nmovq %r13, 24(%rdi)\nmovq %r14, 32(%rdi)\n"
        "movq %r15, 40(%rdi)\nmovq %rax, 48(%rdi)\nmovq %rcx, 56(%rdi)\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n");

Test(guard, registers_are_kept) {
    uint64_t seen[8] = {0};
    run_spoiled(seen);
    for (uint64_t i = 0; i < 6; i++) {
        cr_expect_eq(seen[i], i + 1, "register %lu is %lx", i, seen[i]);
    }
    cr_expect_eq(seen[6] & 0xff, 0, "it faulted");
    cr_expect_eq(seen[7] & 0x400, 0, "the direction flag is clear, as at every return");
}

static char alternate[65536];

Test(guard, works_on_an_alternate_stack) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    install(SA_ONSTACK);
    cr_expect_not(ia2_guard_run(write_byte, NULL));
    cr_expect(ia2_guard_run(add_one, &(int){0}));
}

/* ---- who else ---- */

Test(guard, code_without_guard_is_not_caught) {
    ucontext_t context;
    ucontext_t before;
    memset(&context, 0x55, sizeof context);
    before = context;
    cr_expect_not(ia2_guard_caught(&context));
    cr_expect_eq(memcmp(&context, &before, sizeof context), 0);
    ia2_guard_run(write_byte, NULL);
    ia2_guard_run(add_one, &(int){0});
    cr_expect_not(ia2_guard_caught(&context), "guarded work of before is no guarded work");
}

static void *fault_unguarded(void *outcome) {
    may_go_back = true;
    if (sigsetjmp(back, 1) == 0) {
        write_byte(NULL);
    } else {
        *(int *)outcome = 1;
    }
    return NULL;
}

static void watch_another_thread_fault(void *outcome) {
    pthread_t thread;
    pthread_create(&thread, NULL, fault_unguarded, outcome);
    pthread_join(thread, NULL);
}

Test(guard, the_fault_of_another_thread_is_not_caught) {
    int outcome = 0;
    cr_expect(ia2_guard_run(watch_another_thread_fault, &outcome));
    cr_expect_eq(outcome, 1);
}

Test(guard, no_system_call) {
    pid_t child = fork();
    if (child == 0) { /* only read, write, _exit and sigreturn from here on */
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        bool failed = ia2_guard_run(write_byte, NULL) || !ia2_guard_run(add_one, &(int){0});
        syscall(SYS_exit, failed ? 1 : 0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0, "status %x", (unsigned)status);
}

Test(guard, blocked_signals_are_unblocked_and_blocked_again) {
    sigset_t both;
    sigset_t now;
    sigemptyset(&both);
    sigaddset(&both, SIGSEGV);
    sigaddset(&both, SIGUSR1);
    sigprocmask(SIG_BLOCK, &both, NULL);
    uint64_t mask = ia2_guard_unblock();
    cr_expect_not(ia2_guard_run(write_byte, NULL));
    ia2_guard_restore(mask);
    sigprocmask(SIG_BLOCK, NULL, &now);
    cr_expect(sigismember(&now, SIGSEGV) && sigismember(&now, SIGUSR1));
    cr_expect_not(sigismember(&now, SIGBUS));
}
