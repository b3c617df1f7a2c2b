/* Tells whether the kernel asked for secure execution, who it runs as, and what is left of its environment. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static void handler(void) {
    puts("handler");
    fflush(stdout);
}

int main(void) {
    int ours = 0;
    for (char **at = environ; *at; at++) {
        ours += strncmp(*at, "IA2_", 4) == 0;
    }
    atexit(handler);
    printf("secure %lu, other group %d, IA2_ variables %d\n", getauxval(AT_SECURE), getgid() != getegid(), ours);
    return 3;
}
