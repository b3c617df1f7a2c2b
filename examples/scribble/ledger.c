/* Takes three orders and saves, when it ends, how many there were. */
#include <stdio.h>
#include <stdlib.h>

#include "metrics.h"

static struct counter orders = {"orders", 0};

static void save(void) { printf("saved: %ld %s\n", orders.value, orders.name); }

int main(void) {
    if (atexit(save) != 0 || !metrics_watch(&orders)) {
        return EXIT_FAILURE;
    }
    for (int i = 0; i < 3; i++) {
        metrics_count();
    }
    printf("taken: %ld %s\n", orders.value, orders.name);
    return EXIT_SUCCESS;
}
