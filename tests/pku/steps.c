/* What a switch costs, in instructions: `steps RUNTIME PROGRAM` runs PROGRAM (alternating.c) under the runtime with the backend pku, step by
 * step from its SIGUSR1 on, and prints for each way from one marker to the next how many instructions that was, and how many WRPKRU:
 *
 *     {"ways": [{"instructions": 412, "wrpkru": 4}, …]}
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marker.h"

/* An exit is shorter. */
#define MOST 50000000ul

static void fail(const char *what) {
    fprintf(stderr, "steps: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void be_the_program(const char *runtime, char *program) {
    char *arguments[] = {program, NULL};
    if (setenv("LD_PRELOAD", runtime, 1) != 0 || setenv("IA2_EXIT_BACKEND", "pku", 1) != 0 ||
        setenv("IA2_EXIT_MODE", "enforce", 1) != 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        fail("setting up");
    }
    execv(program, arguments);
    fail(program);
}

/* Continues the program, with `signal` if that is not 0, until it stops again. Returns what stopped it; exits where it has ended. */
static int go_on(int how, pid_t child, int signal) {
    int status;
    if (ptrace(how, child, NULL, (void *)(long)signal) != 0 || waitpid(child, &status, 0) != child) {
        fail("ptrace");
    }
    if (!WIFSTOPPED(status)) {
        errno = 0;
        fail(WIFEXITED(status) ? "the program ended before its last marker" : "a signal ended the program");
    }
    return WSTOPSIG(status);
}

static unsigned long code_at(pid_t child) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) != 0) {
        fail("PTRACE_GETREGS");
    }
    errno = 0;
    unsigned long code = (unsigned long)ptrace(PTRACE_PEEKTEXT, child, (void *)registers.rip, NULL);
    if (errno != 0) {
        fail("PTRACE_PEEKTEXT");
    }
    return code;
}

static int is_marker(unsigned long code) {
    return (code & 0xfffffful) == 0x801f0ful && (code >> 24 & 0xfffffffful) == MARKER_DISPLACEMENT;
}

static int is_wrpkru(unsigned long code) { return (code & 0xfffffful) == 0xef010ful; }

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: steps RUNTIME PROGRAM\n", stderr);
        return 2;
    }
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        be_the_program(argv[1], argv[2]);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        fail("the program did not start");
    }
    int stopped = 0;
    while (stopped != SIGUSR1) {
        stopped = go_on(PTRACE_CONT, child, stopped);
    }
    unsigned long instructions = 0;
    unsigned long wrpkru = 0;
    unsigned markers = 0;
    stopped = 0;
    printf("{\"ways\": [");
    for (unsigned long step = 0; step < MOST && markers < 8; step++) {
        stopped = go_on(PTRACE_SINGLESTEP, child, stopped == SIGTRAP || stopped == SIGUSR1 ? 0 : stopped);
        unsigned long code = code_at(child);
        instructions++;
        wrpkru += (unsigned long)is_wrpkru(code);
        if (is_marker(code)) {
            if (markers > 0) {
                printf("%s{\"instructions\": %lu, \"wrpkru\": %lu}", markers > 1 ? ", " : "", instructions, wrpkru);
            }
            markers++;
            instructions = wrpkru = 0;
        }
    }
    puts("]}");
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child) {
        fail("ending the program");
    }
    return markers == 8 ? 0 : 1;
}
