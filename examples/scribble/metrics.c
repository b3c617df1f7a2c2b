#include "metrics.h"

#include <stdlib.h>

static struct counter *watched;

/* Everything back to 0 for the next run, with no thought of whose memory that is. */
static void metrics_reset(void) { watched->value = 0; }

bool metrics_watch(struct counter *counter) {
    watched = counter;
    return atexit(metrics_reset) == 0;
}

void metrics_count(void) { watched->value++; }
