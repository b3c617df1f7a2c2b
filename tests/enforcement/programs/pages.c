/* `pages SCENARIO`: protections that the program gave its own pages stay what they are, whoever runs meanwhile. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "intruder.h"
#include "say.h"

enum { PAGE = 4096 };

/* The second page is frozen, the fourth closed, the sixth unmapped; between them lie ordinary ones. */
static char pages[7][PAGE] __attribute__((aligned(4096)));
static char secret[64] = " ";

/* The protection of a page, as the kernel says it. Without stdio: nothing here may depend on a buffer. */
static const char *protection_of(const void *page) {
    static char text[64 * 1024];
    static char found[8];
    size_t length = 0;
    ssize_t got;
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    while ((got = read(file, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    close(file);
    text[length] = '\0';
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
        char *rest;
        uintptr_t start = strtoul(line, &rest, 16);
        uintptr_t end = strtoul(rest + 1, &rest, 16);

        if ((uintptr_t)page >= start && (uintptr_t)page < end) {
            memcpy(found, rest + 1, 4);
            return found;
        }
    }
    return "not mapped";
}

static void tell(const char *who) {
    for (int i = 0; i < 7; i++)
        say(who, protection_of(pages[i]));
}

static void protect(int page, int protection) {
    if (mprotect(pages[page], PAGE, protection) != 0)
        _exit(96);
}

static void freeze(void) {
    protect(1, PROT_READ);
    protect(3, PROT_NONE);
}

static void unmap(void) {
    if (munmap(pages[5], PAGE) != 0)
        _exit(96);
}

/* ---- destructors ---- */

static void main_first(void) { tell("main first"); }

static void main_last(void) {
    tell("main last");
    say("main", secret[0] == ' ' ? "kept" : "changed");
}

static void main_changes(void) {
    freeze();
    unmap();
    tell("main changed");
}

static void main_thaws(void) {
    protect(1, PROT_READ | PROT_WRITE);
    pages[1][0] = 't';
    tell("main thawed");
}

/* Memory that nobody has closed comes in the place of some that is. */
static void main_maps_anew(void) {
    void *got = mmap(pages[2], PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    if (got != pages[2])
        _exit(96);
    pages[2][0] = 'n';
}

/* Code that reads a number beside it: whoever calls it must be able to read there. */
static void main_makes_code(void) {
    static const unsigned char code[] = {0x8b, 0x05, 0x01, 0x00, 0x00, 0x00, 0xc3, 42}; /* mov 1(%rip), %eax; ret */

    memcpy(pages[1], code, sizeof code);
    memset(pages[1] + sizeof code, 0, 3);
    protect(1, PROT_READ | PROT_EXEC);
}

static void main_tells_new(void) { say("main new", pages[2][0] == 'n' ? "kept" : "changed"); }

static void main_writes_frozen(void) { *(volatile char *)pages[1] = 'w'; }

static void on_fault(int signal) {
    say_number("main", "signal", signal);
    protect(1, PROT_READ | PROT_WRITE);
}

static void main_forks(void) {
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        secret[1] = 'c';
        exit(5); /* the destructors that are left run in the child, too */
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    say_number("main", "child", WEXITSTATUS(status));
    say("main", secret[1] == 0 ? "untouched by the child" : "touched by the child");
}

/* The child goes on with the destructors that are left. What becomes of it. */
static void main_forks_on(void) {
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        say("child", "exits");
        exit(5);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    say_number("main", WIFSIGNALED(status) ? "child's signal" : "child",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void main_forks_quietly(void) {
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        secret[0] = 'c';
        say("child", protection_of(pages[1]));
        _exit(6);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    say_number("main", "child", WEXITSTATUS(status));
}

static void at_exit(void (*function)(void)) {
    if (atexit(function) != 0)
        _exit(96);
}

/* ---- scenarios; main_last is registered before, so it runs last ---- */

static void frozen(void) {
    freeze();
    unmap();
    at_exit(main_first);
}

static void frozen_at_exit(void) { at_exit(main_changes); }

static void thawed_at_exit(void) {
    freeze();
    at_exit(main_thaws);
}

static void frozen_written(void) {
    freeze();
    at_exit(main_writes_frozen);
}

static void frozen_written_handled(void) {
    signal(SIGSEGV, on_fault);
    frozen_written();
}

/* A library writes to a frozen page: nobody can. */
static void frozen_intruded(void) {
    freeze();
    intruder_writes(pages[1]);
}

static void intruded(void) {
    freeze();
    intruder_writes(secret);
}

/* Main maps, then the library writes there, then main looks. */
static void mapped_anew_intruded(void) {
    at_exit(main_tells_new);
    intruder_writes(pages[2]);
    at_exit(main_maps_anew);
}

static void code_at_exit(void) {
    intruder_calls((int (*)(void))(uintptr_t)pages[1]);
    at_exit(main_makes_code);
}

static void forks(void) { at_exit(main_forks); }

/* The library's turn comes after the fork: in the child, and in the parent. */
static void forks_intruded(void) {
    intruder_writes(secret);
    at_exit(main_forks_on);
}

static void forks_quietly(void) {
    freeze();
    at_exit(main_forks_quietly);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"frozen", frozen},
    {"frozen-at-exit", frozen_at_exit},
    {"thawed-at-exit", thawed_at_exit},
    {"frozen-written", frozen_written},
    {"frozen-written-handled", frozen_written_handled},
    {"frozen-intruded", frozen_intruded},
    {"intruded", intruded},
    {"mapped-anew-intruded", mapped_anew_intruded},
    {"code-at-exit", code_at_exit},
    {"forks", forks},
    {"forks-quietly", forks_quietly},
    {"forks-intruded", forks_intruded},
};

int main(int argc, char **argv) {
    if (argc < 2)
        return 98;
    memset(pages, 'p', sizeof pages);
    at_exit(main_last);
    intruder_idles(); /* a turn of the library's between those of main's, which are closed and opened again */
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, argv[1]) == 0) {
            scenarios[i].run();
            return 7;
        }
    return 97;
}
