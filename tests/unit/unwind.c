/* Stacks of interrupted code, beside glibc's own backtrace() where that can tell. Each test is a process of its own. */
#include "unwind.h"

#include <alloca.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard.h"

#define ROOM 200
#define NOINLINE __attribute__((noinline, no_sanitize("address", "undefined"))) /* it is to fault, and to stay small */

struct frames {
    uintptr_t at[ROOM];
    size_t count;
};

static struct frames ours;   /* of the last signal */
static struct frames theirs; /* glibc's, from the interrupted instruction on */
static bool theirs_cannot;   /* backtrace() has no guard: where it would fault, it is not asked */
static sigjmp_buf back;
static char alternate[262144];

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)info;
    if ((signal == SIGSEGV || signal == SIGBUS) && ia2_guard_caught(context)) {
        return;
    }
    ours.count = ia2_unwind(context, ours.at, ROOM);
    if (!theirs_cannot) {
        size_t all = (size_t)backtrace((void **)theirs.at, ROOM);
        size_t skip = 0;
        while (skip < all && theirs.at[skip] != ours.at[0]) {
            skip++;
        }
        theirs.count = all - skip;
        memmove(theirs.at, theirs.at + skip, theirs.count * sizeof *theirs.at);
    }
    siglongjmp(back, 1);
}

static void install(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
    }
    backtrace((void **)theirs.at, 1); /* loads libgcc_s now */
}

static void install_ours(void) {
    install();
    theirs_cannot = true;
}

TestSuite(unwind, .init = install, .timeout = 30);

/* Runs `work`, which ends in a signal. */
static NOINLINE void interrupt(void (*work)(void)) {
    memset(&ours, 0, sizeof ours);
    memset(&theirs, 0, sizeof theirs);
    if (sigsetjmp(back, 1) == 0) {
        work();
        cr_assert_fail("no signal came");
    }
}

/* Is there a frame in the function that begins at `function`, which is at most `size` bytes long? Returns its place or -1. */
static int frame_in(const void *function, size_t size) {
    for (size_t i = 0; i < ours.count; i++) {
        if (ours.at[i] - (uintptr_t)function <= size) {
            return (int)i;
        }
    }
    return -1;
}

/* The same by a part of the name that dladdr() knows. */
static int frame_named(const char *name) {
    for (size_t i = 0; i < ours.count; i++) {
        Dl_info info;
        if (dladdr((void *)(ours.at[i] - 1), &info) && info.dli_sname && strstr(info.dli_sname, name)) {
            return (int)i;
        }
    }
    return -1;
}

static void check_same(void) {
    cr_assert_gt(ours.count, 3, "%zu frames", ours.count);
    cr_expect_eq(ours.count, theirs.count, "%zu frames, backtrace() has %zu", ours.count, theirs.count);
    for (size_t i = 0; i < ours.count && i < theirs.count; i++) {
        cr_expect_eq(ours.at[i], theirs.at[i], "frame %zu: %lx, backtrace() has %lx", i, ours.at[i], theirs.at[i]);
    }
    cr_expect_gt(frame_in(interrupt, 200), 0);
}

static volatile int zero;
static NOINLINE void trap(void) { __builtin_trap(); }

/* ---- ordinary code ---- */

static NOINLINE void leaf(void) { *(volatile int *)(uintptr_t)zero = 1; }

static NOINLINE void calls_leaf(void) {
    leaf();
    zero = 0; /* no tail call */
}

static NOINLINE void with_alloca(void) {
    char *room = alloca((size_t)(100 + zero));
    memset(room, 0, 100);
    leaf();
    zero = room[1];
}

static NOINLINE void with_aligned_frame(void) {
    _Alignas(64) volatile char room[128];
    room[0] = 0;
    leaf();
    zero = room[0];
}

static NOINLINE int compare(const void *a, const void *b) {
    leaf();
    return *(const int *)a - *(const int *)b;
}

static NOINLINE void in_a_callback(void) {
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof *numbers, compare);
}

Test(unwind, ordinary_code) {
    static void (*const all[])(void) = {leaf, calls_leaf, with_alloca, with_aligned_frame, in_a_callback, trap};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        interrupt(all[i]);
        check_same();
    }
}

Test(unwind, first_comes_the_instruction_itself) {
    interrupt(trap);
    cr_expect_eq(memcmp((void *)ours.at[0], "\x0f\x0b", 2), 0, "ud2");
}

Test(unwind, no_more_than_there_is_room_for) {
    struct frames some;
    ucontext_t context;
    getcontext(&context);
    cr_expect_eq(ia2_unwind(&context, some.at, 0), 0);
    some.at[2] = 77;
    cr_expect_eq(ia2_unwind(&context, some.at, 2), 2);
    cr_expect_eq(some.at[2], 77);
    cr_expect_eq(some.at[0], (uintptr_t)context.uc_mcontext.gregs[REG_RIP]);
}

/* ---- through signal frames ---- */

static NOINLINE void handler_that_faults(int signal) {
    (void)signal;
    calls_leaf();
}

static NOINLINE void raises(void) {
    raise(SIGUSR1);
    zero = 0;
}

Test(unwind, through_a_signal_frame) {
    signal(SIGUSR1, handler_that_faults);
    interrupt(raises);
    check_same();
    int handler = frame_in(handler_that_faults, 64);
    int raiser = frame_in(raises, 64);
    cr_expect(0 < handler && handler < raiser, "handler %d, raiser %d", handler, raiser);
}

/* A restorer without call frame information, as runtimes bring their own. */
void plain_restorer(void);
__asm__(".text\nplain_restorer:\nmovq $15, %rax\nsyscall\n");

Test(unwind, through_a_signal_frame_with_a_restorer_of_its_own) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {handler_that_faults, 0x04000000 /* SA_RESTORER */, plain_restorer, 0};
    cr_assert_eq(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8), 0);
    interrupt(raises);
    check_same();
    cr_expect_gt(frame_in(raises, 64), 0);
}

Test(unwind, where_faults_are_blocked) {
    sigset_t fault;
    sigemptyset(&fault);
    sigaddset(&fault, SIGSEGV);
    sigprocmask(SIG_BLOCK, &fault, NULL);
    ucontext_t context;
    uintptr_t frame;
    getcontext(&context);
    context.uc_mcontext.gregs[REG_RSP] = 8;
    context.uc_mcontext.gregs[REG_RIP] = 8;
    cr_expect_eq(ia2_unwind(&context, &frame, 1), 1);
    uintptr_t frames[4];
    cr_expect_eq(ia2_unwind(&context, frames, 4), 1, "the fault did not kill");
    sigprocmask(SIG_BLOCK, NULL, &fault);
    cr_expect(sigismember(&fault, SIGSEGV));
}

/* ---- jumps to where no code is ---- */

static void (*volatile wild)(void);

static NOINLINE void calls_wild(void) {
    wild();
    zero = 0;
}

Test(unwind, a_call_of_no_code, .init = install_ours) {
    static const uintptr_t targets[] = {0, 0x1000, 0x7fffffff0000};
    for (size_t i = 0; i < 3; i++) {
        wild = (void (*)(void))targets[i];
        interrupt(calls_wild);
        cr_assert_gt(ours.count, 3);
        cr_expect_eq(ours.at[0], targets[i]);
        cr_expect_eq(frame_in(calls_wild, 64), 1, "the caller comes next");
        cr_expect_eq(frame_in(interrupt, 200), 2);
    }
}

Test(unwind, a_call_of_data, .init = install_ours) {
    wild = (void (*)(void))(uintptr_t)&alternate;
    interrupt(calls_wild);
    cr_expect_eq(ours.at[0], (uintptr_t)alternate);
    cr_expect_eq(frame_in(calls_wild, 64), 1);
}

Test(unwind, a_call_of_something_unloaded, .init = install_ours) {
    void *library = dlopen("libBrokenLocale.so.1", RTLD_LAZY); /* of libc, and nobody else's here */
    cr_assert(library);
    wild = (void (*)(void))dlsym(library, "__ctype_get_mb_cur_max");
    cr_assert(wild);
    dlclose(library);
    interrupt(calls_wild);
    cr_expect_eq(ours.at[0], (uintptr_t)wild);
    cr_expect_eq(frame_in(calls_wild, 64), 1);
}

static NOINLINE void handler_of_a_wild_call(int signal) {
    (void)signal;
    abort();
}

Test(unwind, a_call_of_no_code_below_a_handler, .init = install_ours) {
    struct sigaction action = {.sa_handler = handler_of_a_wild_call};
    sigaction(SIGSEGV, &action, NULL);
    wild = (void (*)(void))0x1000;
    interrupt(calls_wild);
    cr_expect_gt(frame_named("abort"), 0);
    cr_expect_gt(frame_in(calls_wild, 64), frame_in(handler_of_a_wild_call, 64));
}

/* ---- code that says nothing about its frames ---- */

void bare_leaf(void);
void bare_with_pointer(void);
void bare_without_pointer(void);
__asm__(".text\n"
        "bare_leaf:\nud2\nnop\nret\n"
        "bare_with_pointer:\npushq %rbp\nmovq %rsp, %rbp\nsubq $32, %rsp\nud2\nleave\nret\nnop\nnop\n"
        "bare_without_pointer:\nxorl %ebp, %ebp\nsubq $40, %rsp\nmovq $0, (%rsp)\nud2\naddq $40, %rsp\nret\n");

static NOINLINE void calls_bare_leaf(void) {
    bare_leaf();
    zero = 0;
}

static NOINLINE void calls_bare_with_pointer(void) {
    bare_with_pointer();
    zero = 0;
}

Test(unwind, code_without_frame_information, .init = install_ours) {
    interrupt(calls_bare_leaf);
    cr_expect_eq(frame_in(calls_bare_leaf, 64), 1, "by the return address on top of the stack");
    interrupt(calls_bare_with_pointer);
    cr_expect_eq(frame_in(calls_bare_with_pointer, 64), 1, "by the frame pointer");
    cr_expect_gt(ours.count, 3, "and from there on as usual");
    interrupt(bare_without_pointer);
    cr_expect_eq(ours.count, 1, "nobody knows more");
}

/* Code that was jumped to, as the runtime's trampolines are: it says that its caller is in rcx and the frame the caller's. */
void jumps_to_frameless(void);
__asm__(".text\n"
        "frameless:\n.cfi_startproc\n.cfi_def_cfa %rsp, 0\n.cfi_register %rip, %rcx\nud2\njmp *%rcx\n.cfi_endproc\n"
        "jumps_to_frameless:\n.cfi_startproc\nleaq 1f(%rip), %rcx\njmp frameless\n1: ret\n.cfi_endproc\n");

static NOINLINE void calls_frameless(void) {
    jumps_to_frameless();
    zero = 0;
}

Test(unwind, running_code_without_a_frame) {
    interrupt(calls_frameless);
    check_same();
    cr_expect_eq(frame_in(jumps_to_frameless, 16), 1);
    cr_expect_eq(frame_in(calls_frameless, 64), 2);
}

/* ---- damaged stacks ---- */

static NOINLINE void smashes(void) {
    uintptr_t *frame = __builtin_frame_address(0);
    for (size_t i = 0; i < 8; i++) {
        ((volatile uintptr_t *)frame)[i] = 0x4141414141414141;
    }
    *(volatile int *)(uintptr_t)zero = 1;
}

static NOINLINE void smash_deep_down(void) {
    volatile char room[256];
    room[0] = 0;
    smashes();
    room[1] = room[0];
}

Test(unwind, a_smashed_stack_ends_the_list, .init = install_ours) {
    interrupt(smash_deep_down);
    cr_expect_eq(frame_in(smashes, 200), 0);
    cr_expect_leq(ours.count, 3);
    cr_expect_eq(ours.at[ours.count - 1], 0x4141414141414141, "what is there is shown");
}

void loses_its_stack(void);
__asm__(".text\nloses_its_stack:\n.cfi_startproc\nmovq $0x4000, %rsp\nud2\nret\n.cfi_endproc\n");

Test(unwind, a_lost_stack_pointer_leaves_the_instruction, .init = install_ours) {
    interrupt(loses_its_stack);
    cr_expect_eq(ours.count, 1);
    cr_expect_eq(frame_in(loses_its_stack, 16), 0);
}

static NOINLINE int endless(int depth) {
    volatile char room[512];
    room[0] = (char)depth;
    return zero ? 0 : endless(depth + 1) + room[0];
}

static NOINLINE void overflow(void) { zero = endless(1); }

Test(unwind, an_overflown_stack, .init = install_ours) {
    interrupt(overflow);
    cr_expect_eq(ours.count, ROOM);
    for (size_t i = 0; i < ROOM; i++) {
        cr_expect_leq(ours.at[i] - (uintptr_t)endless, 200);
    }
}

/* ---- ends of C++ programs ---- */

void ia2_test_terminate(void);
void ia2_test_pure_virtual(void);
void ia2_test_throw_from_destructor(void);
void ia2_test_double_free(void);
void ia2_test_out_of_range(void);

static void check_end(void (*work)(void), const char *name) {
    interrupt(work);
    check_same();
    cr_expect_gt(frame_named("abort"), 0);
    if (name) {
        cr_expect_gt(frame_named(name), 0, "%s is not in the stack", name);
    }
    cr_expect_gt(frame_in(work, 400), 0);
}

Test(unwind, ends_of_cxx_programs) {
    check_end(ia2_test_terminate, "_ZSt9terminatev");
    check_end(ia2_test_pure_virtual, "__cxa_pure_virtual");
    check_end(ia2_test_throw_from_destructor, "__cxa_throw");
    check_end(ia2_test_out_of_range, "__cxa_throw");
    check_end(ia2_test_double_free, NULL); /* free() may have left by a jump (glibc 2.43) */
}
