/* libother.so: functions that another object's destructor may call. */
#include <stdlib.h>
#include <string.h>

#include "legitimate.h"

int other_sum(int count) {
    volatile int numbers[64];
    int sum = 0;

    for (int i = 0; i < count && i < 64; i++)
        numbers[i] = i;
    for (int i = 0; i < count && i < 64; i++)
        sum += numbers[i];
    return sum;
}

/* Called at exit for the first time: the dynamic linker stores the addresses into this object's GOT then. */
long other_asks_libc(const char *text) { return strtol(text, NULL, 10) + (long)strspn(text, "0123456789"); }

static int compare(const void *left, const void *right) { return *(const int *)left - *(const int *)right; }

void other_sorts(int *items, unsigned long count) { qsort(items, count, sizeof *items, compare); }
