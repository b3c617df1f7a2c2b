/* One of many small libraries (-DNUMBER=1, 2, …): static data of a few pages, and object_NUMBER, which registers a
 * destructor that uses them.
 */
#include <stdlib.h>

#define JOIN(a, b) a##b
#define NAME(number) JOIN(object_, number)

static unsigned char data[6000] = {1};
static unsigned char zeroes[6000];

static void handler(void) {
    for (unsigned i = 0; i < sizeof data; i += 1000)
        zeroes[i] = ++data[i];
}

int NAME(NUMBER)(void) { return atexit(handler); }
