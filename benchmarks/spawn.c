/* Starts PROGRAM again and again, in turn without anything and with LIBRARY preloaded, and prints what a start-to-end
 * took (medians, in microseconds) with the median of the ratios of neighbours:
 *
 *     spawn ROUNDS LIBRARY PROGRAM  ->  {"rounds": 500, "vanilla_us": 400.1, "preloaded_us": 470.2, "ratio": 1.172}
 *
 * posix_spawn from a small process: a fork of Python costs more than the program that is measured.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { WARM_UP = 20 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Microseconds from the start of the program to its end, with nothing in its environment but `variable` (or NULL). */
static double once(char *program, char *variable) {
    char *arguments[] = {program, NULL}, *environment[] = {variable, NULL};
    int status;
    pid_t child;
    double start = now();
    int error = posix_spawn(&child, program, NULL, NULL, arguments, environment);
    if (error) {
        fprintf(stderr, "spawn: %s: %s\n", program, strerror(error));
        exit(1);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) {
            perror("spawn: waitpid");
            exit(1);
        }
    double took = now() - start;
    if (status) {
        fprintf(stderr, "spawn: %s: wait status %d, expected 0\n", program, status);
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

int main(int argc, char **argv) {
    size_t rounds = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
    char *variable;
    if (!rounds || asprintf(&variable, "LD_PRELOAD=%s", argv[2]) < 0) {
        fputs("usage: spawn ROUNDS LIBRARY PROGRAM\n", stderr);
        return 2;
    }
    double *vanilla = calloc(rounds, sizeof *vanilla), *preloaded = calloc(rounds, sizeof *preloaded);
    double *ratios = calloc(rounds, sizeof *ratios);
    if (!vanilla || !preloaded || !ratios) {
        perror("spawn");
        return 1;
    }
    for (size_t i = 0; i < rounds + WARM_UP; i++) {
        double a, b;
        if (i % 2) {
            b = once(argv[3], variable);
            a = once(argv[3], NULL);
        } else {
            a = once(argv[3], NULL);
            b = once(argv[3], variable);
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
