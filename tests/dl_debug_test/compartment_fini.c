/* `compartment_fini ROUNDS`: in each round loads two objects of two compartments, lets each register its handlers, and unloads them in
 * turn. What a process has, before and after most of the rounds, is on standard output as JSON; every destructor must have counted. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fini_plugin.h"
#include "ia2_exit_note.h"

IA2_EXIT_COMPARTMENT(1);

enum { WARM_UP = 64 };

static const char *const files[] = {"fini_plugin_6.so", "fini_plugin_7.so"};

/* Private_Dirty has pages of files, too, while what was just built is not on disk yet. */
struct state {
    long mappings; /* lines of /proc/self/maps */
    long kib;      /* Anonymous of all of them */
    long keys;     /* protection keys that can still be had; -1: the machine has none */
};

static int fail(const char *what) {
    fprintf(stderr, "compartment_fini: %s\n", what);
    return 1;
}

/* Read without stdio, whose buffers would come and go with it. */
static long read_file(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "re");
    size_t length = file ? fread(text, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    return (long)length;
}

static long free_keys(void) {
    int keys[16];
    long count = 0;
    while (count < 16 && (keys[count] = pkey_alloc(0, 0)) >= 0)
        count++;
    for (long i = 0; i < count; i++)
        pkey_free(keys[i]);
    return count ? count : -1;
}

static struct state look(void) {
    static char text[1 << 18];
    struct state state = {0};
    read_file("/proc/self/smaps_rollup", text, sizeof text);
    const char *anonymous = strstr(text, "Anonymous:");
    state.kib = anonymous ? strtol(anonymous + strlen("Anonymous:"), NULL, 10) : -1;
    read_file("/proc/self/maps", text, sizeof text);
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        state.mappings++;
    state.keys = free_keys();
    return state;
}

static int one_round(_Atomic long *count, int first) {
    void *handles[2];
    for (int i = 0; i < 2; i++) {
        int (*enlist)(_Atomic long *);
        handles[i] = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        if (!handles[i])
            return fail(dlerror());
        *(void **)&enlist = dlsym(handles[i], "fini_plugin_register");
        if (!enlist || enlist(count) != 0)
            return fail("cannot register");
    }
    return dlclose(handles[first]) || dlclose(handles[1 - first]) ? fail("cannot unload") : 0;
}

int main(int argc, char **argv) {
    const long rounds = argc > 1 ? atol(argv[1]) : 0;
    _Atomic long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct state before = {0};
    if (rounds <= WARM_UP || count == MAP_FAILED)
        return fail("expected more than 64 rounds");
    for (long round = 0; round < rounds; round++) {
        if (round == WARM_UP)
            before = look();
        if (one_round(count, (int)(round % 2)) != 0)
            return 1;
    }
    const struct state after = look();
    printf("{\"counted\": %ld, \"mappings\": [%ld, %ld], \"kib\": [%ld, %ld], \"keys\": [%ld, %ld]}\n", *count,
           before.mappings, after.mappings, before.kib, after.kib, before.keys, after.keys);
    return 0;
}
