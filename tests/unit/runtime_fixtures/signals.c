/* `signals SCENARIO`: what a handler of exit is told of its signals, and what it can do with them. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the header marks as old, or does not declare. */
extern int __sigaction(int number, const struct sigaction *action, struct sigaction *old);
extern __sighandler_t bsd_signal(int number, __sighandler_t handler);
extern __sighandler_t sysv_signal(int number, __sighandler_t handler);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static const int numbers[] = {SIGUSR1, SIGUSR2, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGFPE, SIGCHLD, 64};
static volatile int caught;

static void first(int number) { caught = number; }
static void second(int number) { caught = -number; }

static const char *name(__sighandler_t handler) {
    return handler == SIG_DFL    ? "default"
           : handler == SIG_IGN  ? "ignore"
           : handler == SIG_ERR  ? "error"
           : handler == SIG_HOLD ? "hold"
           : handler == first    ? "first"
           : handler == second   ? "second"
                                 : "strange";
}

static void show(const char *what, int number) {
    struct sigaction found;
    uint64_t mask = 0;
    memset(&found, 0xff, sizeof found);
    errno = 0;
    int result = sigaction(number, NULL, &found);
    if (result != 0) {
        printf("%s %d: %d, errno %d\n", what, number, result, errno);
        return;
    }
    for (int other = 1; other < NSIG; other++)
        mask |= (uint64_t)(sigismember(&found.sa_mask, other) == 1) << (other - 1);
    printf("%s %d: %s, flags %#x, mask %#lx, restorer %s\n", what, number, name(found.sa_handler),
           (unsigned)found.sa_flags, mask, found.sa_restorer ? "yes" : "no");
}

static void show_all(const char *what) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        show(what, numbers[i]);
}

static void say_handler(const char *what, int number, __sighandler_t result) {
    printf("%s %d: %s, errno %d\n", what, number, name(result), errno);
    errno = 0;
    show(what, number);
}

static void raise_one(int number) {
    caught = 0;
    raise(number);
    printf("raised %d: caught %d\n", number, caught);
}

/* Every function, on signals that the runtime handles itself and on others. */
static void family(void) {
    static const int some[] = {SIGUSR1, SIGSEGV, SIGSYS, 64};
    show_all("at exit");
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        int number = some[i];
        struct sigaction action = {.sa_handler = second, .sa_flags = SA_RESTART | SA_NODEFER | 0x400 | 0x10000};
        struct sigaction old;
        sigfillset(&action.sa_mask);
        printf("sigaction: %d, ", sigaction(number, &action, &old));
        printf("it was %s\n", name(old.sa_handler));
        show("sigaction", number);
        raise_one(number);
        action.sa_flags = (int)SA_RESETHAND;
        printf("__sigaction: %d\n", __sigaction(number, &action, NULL));
        raise_one(number);
        show("after one", number);
        say_handler("signal", number, signal(number, first));
        raise_one(number);
        say_handler("bsd_signal", number, bsd_signal(number, second));
        say_handler("ssignal", number, ssignal(number, first));
        printf("siginterrupt: %d\n", siginterrupt(number, 1));
        show("siginterrupt", number);
        say_handler("signal, interrupting", number, signal(number, second));
        printf("siginterrupt: %d\n", siginterrupt(number, 0));
        show("siginterrupt", number);
        say_handler("signal, restarting", number, signal(number, first));
        say_handler("sysv_signal", number, sysv_signal(number, second));
        raise_one(number);
        show("after one", number);
        say_handler("sigset", number, sigset(number, first));
        raise_one(number);
        if (number == SIGUSR1) {
            say_handler("sigset, hold", number, sigset(number, SIG_HOLD));
            say_handler("sigset, hold again", number, sigset(number, SIG_HOLD));
            raise_one(number);
            say_handler("sigset, held", number, sigset(number, second));
            printf("caught %d\n", caught);
        }
        printf("sigignore: %d\n", sigignore(number));
        show("sigignore", number);
        raise_one(number);
        say_handler("signal, default", number, signal(number, SIG_DFL));
    }
}

/* What cannot be done cannot be done at exit, either. */
static void errors(void) {
    static const int strange[] = {-1, 0, SIGKILL, SIGSTOP, 32, 33, 65, 1000};
    struct sigaction action = {.sa_handler = first};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        int number = strange[i];
        errno = 0;
        show("asked", number);
        errno = 0;
        printf("sigaction %d: %d", number, sigaction(number, &action, NULL));
        printf(", errno %d\n", errno);
        errno = 0;
        printf("sigignore %d: %d", number, sigignore(number));
        printf(", errno %d\n", errno);
        errno = 0;
        printf("siginterrupt %d: %d", number, siginterrupt(number, 1));
        printf(", errno %d\n", errno);
        errno = 0;
        say_handler("signal", number, signal(number, first));
        say_handler("sysv_signal", number, sysv_signal(number, first));
        say_handler("sigset", number, sigset(number, first));
        say_handler("sigset, hold", number, sigset(number, SIG_HOLD));
    }
    errno = 0;
    say_handler("signal", SIGUSR1, signal(SIGUSR1, SIG_ERR));
    say_handler("sysv_signal", SIGUSR1, sysv_signal(SIGUSR1, SIG_ERR));
}

static char memory[64 * 1024];
static volatile int on_it;

static void show_stack(const char *what) {
    stack_t found;
    int result = sigaltstack(NULL, &found);
    printf("%s: %d, %s, size %zu, flags %#x\n", what, result, found.ss_sp == memory ? "ours" : "other", found.ss_size,
           (unsigned)found.ss_flags);
}

static void set_stack(const char *what, size_t size, int flags) {
    const stack_t stack = {.ss_sp = memory, .ss_size = size, .ss_flags = flags};
    stack_t old = {0};
    errno = 0;
    int result = sigaltstack(&stack, &old);
    printf("%s: %d, errno %d, before %zu\n", what, result, errno, old.ss_size);
    show_stack(what);
}

static void looks_at_its_stack(int number) {
    char here;
    caught = number;
    on_it = &here >= memory && &here < memory + sizeof memory;
    show_stack("in a handler");
    set_stack("changed in a handler", sizeof memory, SS_DISABLE);
}

static void stacks(void) {
    struct sigaction action = {.sa_handler = looks_at_its_stack, .sa_flags = SA_ONSTACK};
    show_stack("at exit");
    set_stack("too small", 100, 0);
    set_stack("strange", sizeof memory, 64);
    set_stack("none", sizeof memory, SS_DISABLE);
    set_stack("disarming", sizeof memory, (int)(1u << 31));
    set_stack("good", sizeof memory, 0);
    sigaction(SIGUSR2, &action, NULL);
    raise(SIGUSR2);
    printf("on it: %d\n", on_it);
    show_stack("afterwards");
}

static void *ask_in_thread(void *unused) {
    show_all("thread");
    signal(SIGUSR2, second);
    show_stack("thread");
    return unused;
}

static void thread(void) {
    pthread_t other;
    pthread_create(&other, NULL, ask_in_thread, NULL);
    pthread_join(other, NULL);
    raise_one(SIGUSR2);
}

/* Bits: what a child is told of the first signals. Then it sets all of them, which is its own affair. */
static int look_and_change(void) {
    int seen = 0;
    struct sigaction found;
    for (size_t i = 0; i < 7; i++) {
        sigaction(numbers[i], NULL, &found);
        seen |= (found.sa_handler == SIG_DFL) << i;
        signal(numbers[i], SIG_IGN);
    }
    sigaction(SIGSEGV, NULL, &found);
    return found.sa_handler == SIG_IGN ? seen : 128;
}

static void children(void) {
    int status = -1;
    fflush(stdout);
    if (vfork() == 0)
        _exit(look_and_change());
    wait(&status);
    printf("after vfork: %#x\n", status);
    show_all("after vfork");
    raise_one(SIGUSR1);
    fflush(stdout);
    if (fork() == 0)
        _exit(look_and_change());
    wait(&status);
    printf("after fork: %#x\n", status);
    show_all("after fork");
    raise_one(SIGUSR1);
}

/* stdio's last flush comes after the last destructor: what the program set in one is what counts then. */
static ssize_t last_write(void *unused, const char *text, size_t size) {
    struct sigaction found;
    char line[128];
    (void)unused;
    (void)text;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaction(numbers[i], NULL, &found);
        int length = snprintf(line, sizeof line, "last %d: %s, flags %#x\n", numbers[i], name(found.sa_handler),
                              (unsigned)found.sa_flags);
        if (write(STDOUT_FILENO, line, (size_t)length) != length)
            _exit(99);
    }
    return (ssize_t)size;
}

static void until_the_last(void) {
    signal(SIGSEGV, second);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, second);
    signal(SIGBUS, SIG_IGN);
    signal(SIGSYS, first);
    signal(SIGRTMAX, first);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"family", family}, {"errors", errors},     {"stacks", stacks},
                 {"thread", thread}, {"children", children}, {"last", until_the_last}};

int main(int argc, char **argv) {
    const cookie_io_functions_t functions = {.write = last_write};
    signal(SIGUSR1, first);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; argc == 2 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0 && atexit(scenarios[i].run) == 0) {
            if (strcmp(argv[1], "last") == 0)
                fputs("x", fopencookie(NULL, "w", functions));
            return 3;
        }
    }
    return 97;
}
