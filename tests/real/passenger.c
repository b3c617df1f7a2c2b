/* A library that rides in a program which knows nothing of it: static data of its own, which its destructors read and
 * change. A program that consists of one object and libc has three compartments with two such passengers.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGES = 3, SIZE = PAGES * 4096, WRONG = 98 };

static unsigned char luggage[SIZE];
static unsigned char packed[SIZE] = {1};

/* Only a destructor that finds its own memory open, with what was put there, gets past this. */
static void inspect(unsigned char expected) {
    for (int i = 0; i < SIZE; i++)
        if (luggage[i] != expected)
            _exit(WRONG);
    memset(luggage, expected + 1, sizeof luggage);
    packed[SIZE - 1]++;
}

/* Registered by a constructor, so it runs when this object is finalised, after `alight` (docs/exit-handling.md). */
static void at_exit(void) {
    inspect(2);
    if (packed[0] != 1 || packed[SIZE - 1] != 2)
        _exit(WRONG);
}

__attribute__((constructor)) static void board(void) {
    memset(luggage, 1, sizeof luggage);
    if (atexit(at_exit))
        _exit(WRONG);
}

__attribute__((destructor)) static void alight(void) { inspect(1); }
