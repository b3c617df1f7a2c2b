/* Ways to end: `endings SCENARIO`. What runs says so by write(), so that the order is that of the calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) {
        abort();
    }
}

static void first(void) { say("first\n"); }
static void second(void) { say("second\n"); }

static void calls_exit(void) {
    say("exit(5)\n");
    exit(5);
}

static void calls_underscore_exit(void) {
    say("_exit(6)\n");
    _exit(6);
}

static void calls_quick_exit(void) {
    say("quick_exit(7)\n");
    quick_exit(7);
}

static void at_quick(void) { say("at_quick_exit\n"); }

static void with_status(int status, void *argument) {
    char line[64];
    snprintf(line, sizeof line, "on_exit %d %s\n", status, (const char *)argument);
    say(line);
}

static void on_signal(int number) {
    say("signal\n");
    exit(number);
}

static int numbered;
static void quick_handler(void) {
    char line[16];
    snprintf(line, sizeof line, "%d ", ++numbered);
    say(line);
}

static void many_quick(void) {
    for (int i = 0; i < 300; i++) {
        if (at_quick_exit(quick_handler) != 0) {
            say("refused\n");
        }
    }
    quick_exit(8);
}

static void keep_errno(void) {
    errno = 4711;
    int result = atexit(first);
    int after_atexit = errno;
    errno = 4712;
    result |= on_exit(with_status, (void *)(uintptr_t)"errno");
    int after_on_exit = errno;
    errno = 4713;
    result |= at_quick_exit(at_quick);
    printf("%d %d %d %d\n", result, after_atexit, after_on_exit, errno);
    fflush(stdout);
}

static void errno_in_handler(void) {
    char line[32];
    snprintf(line, sizeof line, "errno %d\n", errno);
    say(line);
    errno = 77;
}

static char **environ_at_start;
static void same_environ(void) {
    say(environ == environ_at_start && getenv("PATH") ? "same environ\n" : "another environ\n");
}

static void say_child(pid_t child) {
    char line[32];
    int status;
    waitpid(child, &status, 0);
    snprintf(line, sizeof line, "child %d\n", WEXITSTATUS(status));
    say(line);
}

static void fork_then_exit(void) {
    atexit(first);
    pid_t child = fork();
    if (child == 0) {
        atexit(second);
        exit(3);
    }
    say_child(child);
    exit(4);
}

/* A child of vfork() shares its parent's memory until it executes another program. Like CPython's subprocess it closes
 * everything above standard error first, and goes elsewhere. */
static void vfork_then_exec(void) {
    atexit(first);
    pid_t child = vfork();
    if (child == 0) {
        close_range(3, ~0u, 0);
        if (chdir("/") == 0) {
            execl("/bin/true", "true", (char *)NULL);
        }
        _exit(127);
    }
    say_child(child);
    exit(4);
}

static void vfork_then_underscore_exit(void) {
    atexit(first);
    pid_t child = vfork();
    if (child == 0) {
        _exit(9);
    }
    say_child(child);
    exit(4);
}

__attribute__((constructor)) static void constructor(int argc, char **argv) {
    environ_at_start = environ;
    if (argc > 1 && strcmp(argv[1], "constructor") == 0) {
        atexit(first);
        exit(11);
    }
}

static const struct {
    const char *name;
    void (*handlers[4])(void);
    void (*then)(void);
} scenarios[] = {
    {"handler-exit", {first, calls_exit, second}, NULL},
    {"handler-underscore-exit", {first, calls_underscore_exit, second}, NULL},
    {"handler-quick-exit", {first, calls_quick_exit, second}, NULL},
    {"quick-many", {first}, many_quick},
    {"errno", {first}, keep_errno},
    {"errno-in-handlers", {errno_in_handler, errno_in_handler}, NULL},
    {"environ", {same_environ}, NULL},
    {"fork", {NULL}, fork_then_exit},
    {"vfork-exec", {NULL}, vfork_then_exec},
    {"vfork-underscore-exit", {NULL}, vfork_then_underscore_exit},
};

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "signal") == 0) {
        atexit(first);
        signal(SIGTERM, on_signal);
        raise(SIGTERM);
    }
    if (strcmp(name, "on-exit") == 0) {
        on_exit(with_status, (void *)(uintptr_t)"one");
        on_exit(with_status, (void *)(uintptr_t)"two");
        return 300; /* on_exit is told what the program said, wait() only the low byte */
    }
    if (strcmp(name, "negative") == 0) {
        on_exit(with_status, (void *)(uintptr_t)"negative");
        return -1;
    }
    if (strcmp(name, "unseen") == 0) {
        if (!dlopen(argv[2], RTLD_NOW)) {
            return 98;
        }
        errx(12, "an exit within libc");
    }
    at_quick_exit(at_quick);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(name, scenarios[i].name) == 0) {
            for (int j = 0; j < 4 && scenarios[i].handlers[j]; j++) {
                atexit(scenarios[i].handlers[j]);
            }
            if (scenarios[i].then) {
                scenarios[i].then();
            }
            errno = 76;
            return 2;
        }
    }
    return 99;
}
