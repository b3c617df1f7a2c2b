/* `loads SCENARIO ...`: objects that come in ways of their own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void early(void) { puts("handler of main"); }

/* One that cannot be relocated, then one that can: what is known of the first must be forgotten. */
static int failing(char **paths) {
    for (int round = 0; round < 50; round++) {
        if (dlopen(paths[0], RTLD_NOW)) {
            return 95;
        }
        void *handle = dlopen(paths[1], RTLD_NOW);
        if (!handle || dlclose(handle) != 0) {
            return 94;
        }
    }
    return 3;
}

/* glibc loads the module itself. */
static int converting(void) {
    char from[] = "a", to[8];
    char *in = from, *out = to;
    size_t left = 1, room = sizeof to;
    iconv_t way = iconv_open("ISO-8859-15", "UTF-8");
    if (way == (iconv_t)-1 || iconv(way, &in, &left, &out, &room) != 0) {
        return 93;
    }
    atexit(early);
    return 3;
}

static int staying(char **paths) {
    for (; *paths; paths++) {
        if (!dlopen(*paths, RTLD_NOW)) {
            fprintf(stderr, "%s\n", dlerror());
            return 92;
        }
    }
    return 3;
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "failing") == 0) {
        return failing(argv + 2);
    }
    if (argc > 1 && strcmp(argv[1], "converting") == 0) {
        return converting();
    }
    if (argc > 2 && strcmp(argv[1], "staying") == 0) {
        return staying(argv + 2);
    }
    return 99;
}
