/* A plug-in that registers a handler of its own when it is loaded (-DEXITS: and leaves at once). */
#include <stdlib.h>

#include "say.h"

static volatile int own;
volatile int *moments_plugin_aim __attribute__((visibility("default"))) = &own;

static void moments_plugin_handler(void) {
    *moments_plugin_aim = 1;
    say_number("plug-in", "done", *moments_plugin_aim);
}

__attribute__((constructor)) static void begin(void) {
    atexit(moments_plugin_handler);
#ifdef EXITS
    exit(7);
#endif
}
