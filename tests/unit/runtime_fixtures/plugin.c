/* A library that tells when its destructors run, by the name of its own file: one build serves under many names. Flags choose
 * what it has: -DWITH_ATEXIT, -DWITHOUT_DESTRUCTOR, -DFINI_ONLY (linked with -nostartfiles -Wl,-fini,fini),
 * -DCONSTRUCTOR_EXITS=STATUS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The program's, where it has one: it counts instead of printing. */
void plugin_ended(const char *what) __attribute__((weak));

__attribute__((unused)) static void tell(const char *what) {
    static const char here;
    char line[512];
    Dl_info info;
    if (plugin_ended) {
        plugin_ended(what);
        return;
    }
    const char *name = dladdr(&here, &info) ? strrchr(info.dli_fname, '/') : NULL;
    int length = snprintf(line, sizeof line, "%s %s\n", name ? name + 1 : "?", what);
    if (write(1, line, (size_t)length) < 0) {
        abort();
    }
}

int plugin_answer(void);
int plugin_answer(void) { return 42; }

#ifdef FINI_ONLY
void fini(void);
void fini(void) { tell("fini"); }
#elif !defined(WITHOUT_DESTRUCTOR)
__attribute__((destructor)) static void destructor(void) { tell("destructor"); }
#endif

#ifdef WITH_ATEXIT
static void handler(void) { tell("atexit"); }
__attribute__((constructor)) static void constructor(void) { atexit(handler); }
#endif

#ifdef CONSTRUCTOR_EXITS
static void early(void) { tell("early"); }
__attribute__((constructor)) static void leave(void) {
    atexit(early);
    exit(CONSTRUCTOR_EXITS);
}
#endif
