/* A library that says nothing about its compartment; copies of it use up the keys. */
#include <stdlib.h>

static volatile int own;

static void at_exit(void) { own += 1; }

__attribute__((constructor)) static void constructor(void) {
    if (atexit(at_exit) != 0) {
        abort();
    }
}
