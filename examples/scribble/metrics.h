/* A library that counts what a program does. */
#ifndef METRICS_H
#define METRICS_H

#include <stdbool.h>

struct counter {
    const char *name;
    long value;
};

/* From now on metrics_count() counts with `counter`. Returns false where there is no memory. */
bool metrics_watch(struct counter *counter);
void metrics_count(void);

#endif
