/* Signals of a program under dispatch: handlers, masks, interrupted calls, jumps out of handlers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dispatch.h"
#include "dispatch_guest.h"
#include "unwind.h"

static volatile int caught;
static volatile int dispatched_inside;
static int files[2];
static sigjmp_buf out;

/* Makes system calls of its own, so that a blocked SIGSYS would be the end. */
static void handle(int number) {
    int before = guest_dispatched;
    caught = number;
    write(files[1], "x", 1);
    dispatched_inside = guest_dispatched - before;
}

static void leave(int number) {
    caught = number;
    siglongjmp(out, 1);
}

static void on(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* SIGALRM comes in a moment, and again until it is caught: none can come too early. */
static void alarm_soon(void) {
    struct itimerval soon = {{0, 5000}, {0, 5000}};
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void alarm_off(void) {
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
}

static void begin(void) {
    cr_assert_eq(pipe(files), 0);
    guest_begin();
}

Test(dispatch_signals, a_handler_returns_to_what_it_interrupted) {
    begin();
    on(SIGUSR1, handle, 0);
    int result = raise(SIGUSR1);
    int number = caught;
    int again = kill(getpid(), SIGUSR1);
    guest_end();
    cr_expect(result == 0 && again == 0);
    cr_expect_eq(number, SIGUSR1);
    cr_expect_eq(dispatched_inside, 1);
}

static volatile uintptr_t seen_stack;

static void look(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    seen_stack = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
}

/* What raise() interrupts is raise(), not our handler. */
Test(dispatch_signals, a_signal_to_oneself_finds_the_own_stack) {
    struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO};
    begin();
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    guest_end();
    cr_expect_lt((uintptr_t)__builtin_frame_address(0) - seen_stack, 1024);
}

static void *frames[64];
static uintptr_t own_frames[64];
static int frame_count;
static size_t own_frame_count;
static void *caller;

static void unwind(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    frame_count = backtrace(frames, 64);
    own_frame_count = ia2_unwind(context, own_frames, 64);
}

__attribute__((noinline)) static int raise_here(void) {
    caller = __builtin_return_address(0);
    return raise(SIGUSR1) + 1; /* not a tail call */
}

/* The interrupted instruction is one of a trampoline, whose return address lies in a table. */
Test(dispatch_signals, unwinders_find_the_way_through_a_trampoline) {
    struct sigaction action = {.sa_sigaction = unwind, .sa_flags = SA_SIGINFO};
    int found = 0;
    begin();
    sigaction(SIGUSR1, &action, NULL);
    int result = raise_here();
    guest_end();
    cr_expect_eq(result, 1);
    for (int i = 0; i < frame_count; i++) {
        found += frames[i] == caller;
    }
    cr_expect_eq(found, 1, "libgcc");
    found = 0;
    for (size_t i = 0; i < own_frame_count; i++) {
        found += own_frames[i] == (uintptr_t)caller;
    }
    cr_expect_eq(found, 1, "the runtime's own");
    cr_expect_lt(own_frames[0] - (uintptr_t)ia2_trampolines, IA2_TRAMPOLINES * IA2_TRAMPOLINE_SIZE);
}

Test(dispatch_signals, an_interrupted_read_fails_with_eintr) {
    char byte;
    begin();
    int empty[2];
    cr_assert_eq(pipe(empty), 0);
    on(SIGALRM, handle, 0);
    alarm_soon();
    ssize_t count = read(empty[0], &byte, 1);
    int error = errno;
    alarm_off();
    guest_end();
    cr_expect(count == -1 && error == EINTR);
    cr_expect(caught == SIGALRM && dispatched_inside == 1);
}

/* The handler itself writes what the read waits for. */
Test(dispatch_signals, a_read_goes_on_where_the_handler_wants_it) {
    char byte = 0;
    begin();
    on(SIGALRM, handle, SA_RESTART);
    alarm_soon();
    ssize_t count = read(files[0], &byte, 1);
    alarm_off();
    guest_end();
    cr_expect(count == 1 && byte == 'x');
    cr_expect_eq(caught, SIGALRM);
}

Test(dispatch_signals, a_jump_out_of_a_handler_leaves_the_call_behind) {
    char byte;
    volatile int jumps = 0;
    begin();
    on(SIGALRM, leave, 0);
    while (sigsetjmp(out, 1) || jumps == 0) {
        if (++jumps > 100) {
            break;
        }
        alarm_soon();
        read(files[0], &byte, 1);
    }
    alarm_off();
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    int before = guest_dispatched;
    getppid();
    int dispatched = guest_dispatched - before;
    guest_end();
    cr_expect_eq(jumps, 101);
    cr_expect_not(sigismember(&mask, SIGALRM));
    cr_expect_eq(dispatched, 1);
}

Test(dispatch_signals, pause_and_alarm) {
    begin();
    on(SIGALRM, handle, SA_RESTART);
    alarm_soon();
    int result = pause();
    int error = errno;
    alarm_off();
    guest_end();
    cr_expect(result == -1 && error == EINTR && caught == SIGALRM);
}

Test(dispatch_signals, a_sleep_says_what_is_left) {
    struct timespec wanted = {3600, 0};
    struct timespec *left = (struct timespec *)guest_memory;
    begin();
    on(SIGALRM, handle, SA_RESTART);
    guest_close(0, 1);
    alarm_soon();
    int result = nanosleep(&wanted, left);
    int error = errno;
    alarm_off();
    guest_end();
    cr_expect(result == -1 && error == EINTR);
    cr_expect(left->tv_sec >= 3598 && left->tv_sec < 3600);
    cr_expect_eq(guest_touches, 1);
}

/* ---- masks ---- */

Test(dispatch_signals, a_changed_mask_stays_changed) {
    sigset_t blocked;
    sigset_t now;
    begin();
    on(SIGUSR1, handle, 0);
    sigfillset(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    int while_blocked = caught;
    sigprocmask(SIG_BLOCK, NULL, &now);
    sigemptyset(&blocked);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    int unblocked = caught;
    guest_end();
    cr_expect_eq(while_blocked, 0);
    cr_expect_eq(unblocked, SIGUSR1);
    cr_expect(sigismember(&now, SIGUSR1) && sigismember(&now, SIGTERM));
}

/* A mask with everything but SIGALRM in it, for calls that wait with it while SIGALRM is blocked otherwise. */
static void only_alarm(sigset_t *waiting) {
    sigset_t alarm;
    on(SIGALRM, handle, 0);
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, NULL);
    sigfillset(waiting);
    sigdelset(waiting, SIGALRM);
    alarm_soon();
}

static void expect_interrupted(int result, int error) {
    guest_end();
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    cr_expect(result == -1 && error == EINTR);
    cr_expect(caught == SIGALRM && dispatched_inside == 1);
    cr_expect(sigismember(&now, SIGALRM), "the mask is back");
    cr_expect_not(sigismember(&now, SIGUSR2));
}

Test(dispatch_signals, sigsuspend_with_all_blocked) {
    sigset_t *mask = (sigset_t *)(guest_memory + 64);
    begin();
    only_alarm(mask);
    guest_close(0, 1);
    int result = sigsuspend(mask);
    int error = errno;
    expect_interrupted(result, error);
    cr_expect_eq(guest_touches, 1);
}

Test(dispatch_signals, ppoll_with_all_blocked) {
    sigset_t mask;
    begin();
    only_alarm(&mask);
    struct pollfd file = {files[0], POLLIN, 0};
    int result = ppoll(&file, 1, NULL, &mask);
    int error = errno;
    expect_interrupted(result, error);
}

Test(dispatch_signals, pselect_with_all_blocked) {
    sigset_t mask;
    fd_set set;
    begin();
    only_alarm(&mask);
    FD_ZERO(&set);
    FD_SET(files[0], &set);
    int result = pselect(files[0] + 1, &set, NULL, NULL, NULL, &mask);
    int error = errno;
    expect_interrupted(result, error);
}

Test(dispatch_signals, epoll_pwait_with_all_blocked) {
    sigset_t mask;
    struct epoll_event event;
    begin();
    only_alarm(&mask);
    int result = epoll_pwait(epoll_create1(0), &event, 1, -1, &mask);
    int error = errno;
    expect_interrupted(result, error);
}

/* The mask in its own frame is what a handler returns to. */
static void block_all_in_frame(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    sigfillset(&((ucontext_t *)context)->uc_sigmask);
}

Test(dispatch_signals, a_handler_may_change_the_mask_in_its_frame) {
    struct sigaction action = {.sa_sigaction = block_all_in_frame, .sa_flags = SA_SIGINFO};
    sigset_t now;
    begin();
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    int before = guest_dispatched;
    getppid();
    int dispatched = guest_dispatched - before;
    guest_end();
    cr_expect(sigismember(&now, SIGUSR1) && sigismember(&now, SIGTERM));
    cr_expect_eq(dispatched, 1);
}

/* ---- stacks, and the end ---- */

static volatile uintptr_t handler_stack;

static void look_at_stack(int number) {
    (void)number;
    handler_stack = (uintptr_t)__builtin_frame_address(0);
    getppid();
}

Test(dispatch_signals, an_alternate_stack) {
    static char stack[65536];
    stack_t wanted = {.ss_sp = stack, .ss_size = sizeof stack};
    stack_t now;
    begin();
    int set = sigaltstack(&wanted, NULL);
    on(SIGUSR1, look_at_stack, SA_ONSTACK);
    raise(SIGUSR1);
    sigaltstack(NULL, &now);
    guest_end();
    cr_expect_eq(set, 0);
    cr_expect_lt(handler_stack - (uintptr_t)stack, sizeof stack);
    cr_expect_eq(now.ss_sp, (void *)stack);
}

static int status_of_child(void (*child)(void)) {
    int status = -1;
    guest_begin();
    pid_t pid = fork();
    if (pid == 0) {
        child();
        _exit(0);
    }
    pid_t reaped = waitpid(pid, &status, 0);
    guest_end();
    cr_assert_eq(reaped, pid);
    return status;
}

static void abort_with_all_blocked(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    abort();
}

static void kill_oneself(void) { kill(getpid(), SIGTERM); }

static void closed_pipe(void) {
    int broken[2];
    cr_assert_eq(pipe(broken), 0);
    close(broken[0]);
    signal(SIGPIPE, SIG_DFL);
    write(broken[1], "x", 1);
}

Test(dispatch_signals, a_death_by_signal_is_that_signals) {
    cr_expect_eq(WTERMSIG(status_of_child(abort)), SIGABRT);
    cr_expect_eq(WTERMSIG(status_of_child(abort_with_all_blocked)), SIGABRT);
    cr_expect_eq(WTERMSIG(status_of_child(kill_oneself)), SIGTERM);
    cr_expect_eq(WTERMSIG(status_of_child(closed_pipe)), SIGPIPE);
}
