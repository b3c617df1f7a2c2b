/* A library whose destructor touches what is not its own, by name of the way: see test_running_enforced.py. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *way = "";
static int *prey;

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void plunder(void) {
    if (!strcmp(way, "write"))
        prey[2] = 7;
    else if (!strcmp(way, "syscall")) {
        int zero = open("/dev/zero", O_RDONLY);
        if (read(zero, prey, sizeof *prey) < 0)
            _exit(9);
        close(zero);
    } else if (!strcmp(way, "null"))
        *(volatile int *)8 = 1;
    else if (!strcmp(way, "abort"))
        abort();
    else if (!strcmp(way, "hang")) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
        for (;;)
            pause();
    }
}

void plunder_later(const char *how, int *what) {
    way = how;
    prey = what;
    atexit(plunder);
}
