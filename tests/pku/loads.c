/* Loads the objects that it is told to: `loads PATH…`. They stay loaded. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

#include "rights.h"

static volatile int own;

static void main_at_exit(void) { CHECK_OWN(main_at_exit, &own); }

int main(int argc, char **argv) {
    CHECK(atexit(main_at_exit) == 0);
    for (int i = 1; i < argc; i++) {
        CHECK(dlopen(argv[i], RTLD_NOW) != NULL);
    }
    return 3;
}
