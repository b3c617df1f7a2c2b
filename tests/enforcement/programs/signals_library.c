#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>

#include "say.h"

static char *other;
static char own[64] = "own";
static sigjmp_buf back;
static volatile sig_atomic_t jumps;

static void finish(const char *what) {
    own[0] = 'O';
    say("library", what);
    say("library", own);
}

static void raises(void) {
    for (int i = 0; i < 3; i++)
        raise(SIGUSR1);
    finish("raised");
}

static void kills(void) {
    kill(getpid(), SIGUSR1);
    sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 5});
    finish("sent");
}

/* Comes between any two instructions, and in the middle of system calls. */
static void alarms(void) {
    struct itimerval every = {{0, 2000}, {0, 2000}};
    struct itimerval never = {{0, 0}, {0, 0}};
    volatile long work = 0;

    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 30000000; i++) {
        work += i;
        own[1] = (char)('a' + work % 26);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    own[1] = 'w';
    finish("worked under an alarm");
}

/* A system call that the handler interrupts, and restarts or not. */
static void interrupted(void) {
    struct itimerval once = {{0, 0}, {0, 20000}};
    int ends[2];
    char byte;

    if (pipe(ends) != 0 || setitimer(ITIMER_REAL, &once, NULL) != 0)
        _exit(96);
    say_number("library", "read", read(ends[0], &byte, 1));
    say("library", errno == EINTR ? "interrupted" : "not interrupted");
    finish("read");
}

/* Everything blocked, then system calls on its own memory, then what was pending comes. */
static void blocks(void) {
    sigset_t all;
    sigset_t before;
    static char content[32] = "x";
    int ends[2];

    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, &before) != 0 || pipe(ends) != 0)
        _exit(96);
    raise(SIGUSR1);
    say_number("library", "written", write(ends[1], "through a pipe", 15));
    say_number("library", "read", read(ends[0], content, sizeof content));
    say("library", content);
    if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0)
        _exit(96);
    finish("unblocked");
}

static void waits_for_signal(void) {
    sigset_t one;
    siginfo_t info;
    struct timespec limit = {5, 0};

    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    sigprocmask(SIG_BLOCK, &one, NULL);
    kill(getpid(), SIGUSR2);
    say_number("library", "signal", sigtimedwait(&one, &info, &limit));
    finish("waited");
}

static void jumps_in_destructor(void) {
    if (sigsetjmp(back, 1) < 3) {
        jumps++;
        siglongjmp(back, (int)jumps);
    }
    say_number("library", "jumps", jumps);
    finish("jumped");
}

static void jump_out(int signal) {
    (void)signal;
    jumps++;
    siglongjmp(back, 1);
}

/* Out of a handler, past the return of the signal. */
static void jumps_out_of_handler(void) {
    struct sigaction action = {.sa_handler = jump_out};

    sigaction(SIGUSR2, &action, NULL);
    if (sigsetjmp(back, 1) == 0) {
        raise(SIGUSR2);
        say("library", "not reached");
    }
    if (sigsetjmp(back, 1) == 0)
        raise(SIGUSR2); /* the mask was restored: it comes once more */
    say_number("library", "handled", jumps);
    finish("jumped out");
}

/* Looks at what is installed: the program's, as it installed it. */
static void asks(void) {
    static const int numbers[] = {SIGUSR1, SIGSEGV, SIGBUS, SIGSYS, SIGTRAP, SIGABRT};
    struct sigaction found;
    stack_t stack;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (sigaction(numbers[i], NULL, &found) != 0)
            _exit(96);
        say_number("library", "signal", numbers[i]);
        say("library", found.sa_handler == SIG_DFL ? "default" : found.sa_handler == SIG_IGN ? "ignored" : "handled");
    }
    if (sigaltstack(NULL, &stack) != 0)
        _exit(96);
    say("library", (stack.ss_flags & SS_DISABLE) != 0 ? "no alternate stack" : "an alternate stack");
    finish("asked");
}

/* What the kernel reads and writes for these calls is the library's own static data, as a saved mask or context of many a program is. */
static void asks_in_static_memory(void) {
    static sigset_t wanted;
    static sigset_t found;
    static stack_t stack;
    static struct sigaction action;

    sigaddset(&wanted, SIGUSR2);
    say_number("library", "set", sigprocmask(SIG_SETMASK, &wanted, &found));
    say_number("library", "was blocked", sigismember(&found, SIGUSR2));
    say_number("library", "set", sigprocmask(SIG_SETMASK, &found, &wanted));
    say_number("library", "was blocked", sigismember(&wanted, SIGUSR2));
    say_number("library", "stack", syscall(SYS_sigaltstack, NULL, &stack));
    say_number("library", "action", syscall(SYS_rt_sigaction, SIGUSR2, NULL, &action, 8));
    say_number("library", "not there", syscall(SYS_rt_sigprocmask, SIG_SETMASK, 8, NULL, 8));
    finish("asked");
}

/* Installs a handler now, in a destructor. */
static void installs_late(void) {
    struct sigaction action = {.sa_handler = signals_handler};

    other = own + 10;
    if (sigaction(SIGUSR2, &action, NULL) != 0)
        _exit(96);
    raise(SIGUSR2);
    say("library", own[10] == '!' ? "handled late" : "not handled");
    finish("installed");
}

static void handler_of_another(void) {
    raise(SIGUSR2);
    finish("raised for another");
}

static void ignores(void) {
    signal(SIGUSR2, SIG_IGN);
    raise(SIGUSR2);
    signal(SIGCHLD, SIG_IGN);
    finish("ignored");
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"raise", raises},
    {"kill", kills},
    {"alarm", alarms},
    {"interrupted", interrupted},
    {"block", blocks},
    {"sigwait", waits_for_signal},
    {"jump", jumps_in_destructor},
    {"jump-out", jumps_out_of_handler},
    {"ask", asks},
    {"ask-static", asks_in_static_memory},
    {"late", installs_late},
    {"ignore", ignores},
    {"intrude", handler_of_another},
};

void signals_handler(int signal) {
    (void)signal;
    *(volatile char *)other = '!';
}

int signals_register(const char *scenario, char *given) {
    other = given;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, scenario) == 0)
            return atexit(scenarios[i].run) == 0 ? 0 : -1;
    return -1;
}
