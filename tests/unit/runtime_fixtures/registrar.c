/* A library that registers with on_exit what others give it. */
#define _GNU_SOURCE
#include <stdlib.h>

void registrar_uses(void (*function)(int, void *));
void registrar_uses(void (*function)(int, void *)) {
    static int argument;
    if (on_exit(function, &argument) != 0) {
        abort();
    }
}
