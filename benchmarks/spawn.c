/* Starts PROGRAM again and again, in turn without anything and with LIBRARY preloaded, and prints what a start-to-end
 * took (medians, in microseconds) with the median of the ratios of neighbours, and what it cost in CPU time, user and
 * system (lower quartiles, in microseconds), with the ratio of those:
 *
 *     spawn ROUNDS LIBRARY [NAME=VALUE...] PROGRAM [ARGUMENT...]
 *         ->  {"rounds": 500, "vanilla_us": 400.1, "preloaded_us": 470.2, "ratio": 1.172,
 *              "vanilla_cpu_us": 310.0, "preloaded_cpu_us": 350.0, "cpu_ratio": 1.129}
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
#include <sys/resource.h>
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

struct cost {
    double wall, cpu; /* microseconds */
};

static double microseconds(struct timeval t) { return (double)t.tv_sec * 1e6 + (double)t.tv_usec; }

/* From the start of the program to its end. */
static struct cost once(char **arguments, char **environment) {
    struct rusage usage;
    int status;
    pid_t child;
    double start = now();
    int error = posix_spawn(&child, arguments[0], &silence, NULL, arguments, environment);
    if (error) {
        fprintf(stderr, "spawn: %s: %s\n", arguments[0], strerror(error));
        exit(1);
    }
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR) {
            perror("spawn: wait4");
            exit(1);
        }
    double took = now() - start;
    if (status) {
        fprintf(stderr, "spawn: %s: wait status %d, expected 0\n", arguments[0], status);
        exit(1);
    }
    return (struct cost){took, microseconds(usage.ru_utime) + microseconds(usage.ru_stime)};
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double lower_quartile(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 4];
}

static double *room_for(size_t count) {
    double *values = calloc(count, sizeof *values);
    if (!values) {
        perror("spawn");
        exit(1);
    }
    return values;
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
    double *vanilla = room_for(rounds), *preloaded = room_for(rounds), *ratios = room_for(rounds);
    double *vanilla_cpu = room_for(rounds), *preloaded_cpu = room_for(rounds);
    for (size_t i = 0; i < rounds + WARM_UP; i++) {
        struct cost a, b;
        if (i % 2) {
            b = once(command, environment);
            a = once(command, nothing);
        } else {
            a = once(command, nothing);
            b = once(command, environment);
        }
        if (i < WARM_UP)
            continue;
        vanilla[i - WARM_UP] = a.wall;
        preloaded[i - WARM_UP] = b.wall;
        ratios[i - WARM_UP] = b.wall / a.wall;
        vanilla_cpu[i - WARM_UP] = a.cpu;
        preloaded_cpu[i - WARM_UP] = b.cpu;
    }
    double cpu_without = lower_quartile(vanilla_cpu, rounds), cpu_with = lower_quartile(preloaded_cpu, rounds);
    printf("{\"rounds\": %zu, \"vanilla_us\": %.1f, \"preloaded_us\": %.1f, \"ratio\": %.3f, ", rounds,
           median(vanilla, rounds), median(preloaded, rounds), median(ratios, rounds));
    printf("\"vanilla_cpu_us\": %.1f, \"preloaded_cpu_us\": %.1f, \"cpu_ratio\": %.3f}\n", cpu_without, cpu_with,
           cpu_with / cpu_without);
    return 0;
}
