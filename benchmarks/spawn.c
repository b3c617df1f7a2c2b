/* Starts PROGRAM again and again, in turn without anything and with LIBRARY preloaded, and prints what a start-to-end
 * took (medians, in microseconds) with the median of the ratios of neighbours:
 *
 *     spawn ROUNDS LIBRARY [NAME=VALUE...] PROGRAM [ARGUMENT...]
 *         ->  {"rounds": 500, "vanilla_us": 400.1, "preloaded_us": 470.2, "ratio": 1.172}
 *
 * The variables are set where LIBRARY is; nothing else is in the environment. What PROGRAM writes is thrown away.
 * posix_spawn from a small process: a fork of Python costs more than the program that is measured.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 20 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static posix_spawn_file_actions_t silence;

/* Microseconds from the start of the program to its end. */
static double once(char **arguments, char **environment) {
    int status;
    pid_t child;
    double start = now();
    int error = posix_spawn(&child, arguments[0], &silence, NULL, arguments, environment);
    if (error) {
        fprintf(stderr, "spawn: %s: %s\n", arguments[0], strerror(error));
        exit(1);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) {
            perror("spawn: waitpid");
            exit(1);
        }
    double took = now() - start;
    if (status) {
        fprintf(stderr, "spawn: %s: wait status %d, expected 0\n", arguments[0], status);
        exit(1);
    }
    return took;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The environment of the other side: LD_PRELOAD, and the words before the program that are variables. */
static char **preloaded_environment(char *library, char **words, size_t variables) {
    char **environment = calloc(variables + 2, sizeof *environment);
    if (!environment || asprintf(&environment[0], "LD_PRELOAD=%s", library) < 0) {
        perror("spawn");
        exit(1);
    }
    for (size_t i = 0; i < variables; i++)
        environment[i + 1] = words[i];
    return environment;
}

int main(int argc, char **argv) {
    size_t rounds = argc >= 4 ? strtoul(argv[1], NULL, 10) : 0;
    char **command = argv + 3, *nothing[] = {NULL};
    while (argc >= 4 && *command && strchr(*command, '='))
        command++;
    if (!rounds || !*command) {
        fputs("usage: spawn ROUNDS LIBRARY [NAME=VALUE...] PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    char **environment = preloaded_environment(argv[2], argv + 3, (size_t)(command - argv - 3));
    posix_spawn_file_actions_init(&silence);
    posix_spawn_file_actions_addopen(&silence, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    double *vanilla = calloc(rounds, sizeof *vanilla), *preloaded = calloc(rounds, sizeof *preloaded);
    double *ratios = calloc(rounds, sizeof *ratios);
    if (!vanilla || !preloaded || !ratios) {
        perror("spawn");
        return 1;
    }
    for (size_t i = 0; i < rounds + WARM_UP; i++) {
        double a, b;
        if (i % 2) {
            b = once(command, environment);
            a = once(command, nothing);
        } else {
            a = once(command, nothing);
            b = once(command, environment);
        }
        if (i < WARM_UP)
            continue;
        vanilla[i - WARM_UP] = a;
        preloaded[i - WARM_UP] = b;
        ratios[i - WARM_UP] = b / a;
    }
    printf("{\"rounds\": %zu, \"vanilla_us\": %.1f, \"preloaded_us\": %.1f, \"ratio\": %.3f}\n", rounds,
           median(vanilla, rounds), median(preloaded, rounds), median(ratios, rounds));
    return 0;
}
