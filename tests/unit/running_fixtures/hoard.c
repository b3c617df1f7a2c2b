/* A program with something to lose to libplunder.so. */
#include <stdio.h>
#include <stdlib.h>

void plunder_later(const char *how, int *what);

static int treasure[2048] = {1};

static void count(void) { printf("%d\n", treasure[2]); }

int main(int argc, char **argv) {
    atexit(count);
    plunder_later(argc > 1 ? argv[1] : "", treasure);
    return 3;
}
