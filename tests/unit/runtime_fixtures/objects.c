/* `objects SCENARIO LIBRARY...`: libraries that come and go. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *handle) {
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        _Exit(98);
    }
    return handle;
}

static void *load(const char *path) { return checked(dlopen(path, RTLD_NOW)); }

/* The library is in use: its function can be called. */
static void call(void *handle) {
    int (*answer)(void) = (int (*)(void))checked(dlsym(handle, "plugin_answer"));
    if (answer() != 42) {
        _Exit(97);
    }
}

static void stay(int count, char **paths) {
    for (int i = 0; i < count; i++) {
        call(load(paths[i]));
    }
}

static void close_all(int count, char **paths) {
    void *handles[512];
    for (int i = 0; i < count && i < 512; i++) {
        handles[i] = load(paths[i]);
        call(handles[i]);
    }
    for (int i = 0; i < count && i < 512; i++) {
        dlclose(handles[(i * 7) % count]); /* 7 is prime to every count that the tests use */
    }
}

static void in_turn(int count, char **paths) {
    for (int round = 0; round < 2000; round++) {
        void *handle = load(paths[round % count]);
        call(handle);
        dlclose(handle);
    }
}

static void apart(int count, char **paths) {
    for (int i = 0; i < count; i++) {
        call(checked(dlmopen(LM_ID_NEWLM, paths[i], RTLD_NOW)));
    }
}

static void apart_and_closed(int count, char **paths) {
    for (int i = 0; i < count; i++) {
        void *handle = checked(dlmopen(LM_ID_NEWLM, paths[i], RTLD_NOW));
        call(handle);
        dlclose(handle);
    }
}

static const struct {
    const char *name;
    void (*run)(int count, char **paths);
} scenarios[] = {{"stay", stay},
                 {"close-all", close_all},
                 {"in-turn", in_turn},
                 {"apart", apart},
                 {"apart-and-closed", apart_and_closed}};

static void first(void) {
    puts("first");
    fflush(stdout);
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            atexit(first);
            scenarios[i].run(argc - 2, argv + 2);
            return 3;
        }
    }
    return 99;
}
