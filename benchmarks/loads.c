/* Objects that come by dlopen. Libraries are object.c's.
 *
 *     loads pairs N LIBRARY              N times dlopen and dlclose of one: {"pair_ns": 7012.5}
 *     loads turns N LIBRARY LIBRARY...   all stay; N destructors of the first two by turns: {"run_ns": 91.2} for one
 *
 * What is printed goes past stdio, from the last destructor.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long count;
static double began;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *load(const char *path) {
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle) {
        fprintf(stderr, "loads: %s\n", dlerror());
        exit(1);
    }
    return handle;
}

static void tell(const char *what, double value) {
    char line[64];
    int length = snprintf(line, sizeof line, "{\"%s\": %.2f}\n", what, value);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(1);
}

static int pairs(const char *path) {
    double best = 1e18;
    for (int round = 0; round < 5; round++) {
        double start = now();
        for (long i = 0; i < count; i++)
            if (dlclose(load(path)) != 0)
                return 1;
        double took = (now() - start) / (double)count;
        best = took < best ? took : best;
    }
    tell("pair_ns", best);
    return 0;
}

static void first(void) { began = now(); }
static void last(void) { tell("run_ns", (now() - began) / (double)count); }

/* Each library's function registers a destructor of its own; its name ends in the number that it was built with. */
static int turns(int libraries, char **paths) {
    int (*enlist[2])(void);
    if (atexit(last) != 0)
        return 1;
    for (int i = 0; i < libraries; i++) {
        char name[32];
        void *handle = load(paths[i]);
        snprintf(name, sizeof name, "object_%d", i + 1);
        if (i < 2 && !(enlist[i] = (int (*)(void))dlsym(handle, name)))
            return 1;
    }
    for (long i = 0; i < count; i++)
        if (enlist[i % 2]() != 0)
            return 1;
    return atexit(first);
}

int main(int argc, char **argv) {
    if (argc > 3 && (count = atol(argv[2])) > 0) {
        if (strcmp(argv[1], "pairs") == 0)
            return pairs(argv[3]);
        if (strcmp(argv[1], "turns") == 0 && argc > 4)
            return turns(argc - 3, argv + 3);
    }
    fprintf(stderr, "usage: loads pairs|turns N LIBRARY...\n");
    return 2;
}
