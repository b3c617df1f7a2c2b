/* Ways to end, by name: what `ia2exit run` says about them is tested in test_running_report.py and
 * test_running_outcome.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *plugin;

/* At least so many milliseconds, whatever signal comes. */
static void wait_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left))
        ;
}

static void quick(void) {}
static void first_handler(void) {}
static void slow_handler(void) { wait_ms(20); }
static void dying_handler(void) { raise(SIGKILL); }
static void leaving_handler(void) { _exit(6); }

static void unloading_handler(void) {
    dlclose(plugin);
    wait_ms(10);
}

static int handlers(const char *what, const char *argument) {
    atexit(first_handler);
    if (!strcmp(what, "slow"))
        atexit(slow_handler);
    else if (!strcmp(what, "nested")) {
        plugin = dlopen(argument, RTLD_NOW);
        atexit(unloading_handler);
    } else if (!strcmp(what, "killed-in-handler"))
        atexit(dying_handler);
    else if (!strcmp(what, "_exit-in-handler"))
        atexit(leaving_handler);
    else if (!strcmp(what, "many"))
        for (long left = strtol(argument, NULL, 10); left > 0; left--)
            atexit(left == 3 ? slow_handler : quick);
    else if (!strcmp(what, "_exit"))
        _exit(5);
    else if (!strcmp(what, "quick_exit")) {
        at_quick_exit(quick);
        quick_exit(5);
    } else if (!strcmp(what, "killed"))
        raise(SIGKILL);
    else if (!strcmp(what, "fork")) {
        if (!fork())
            exit(0);
        wait(NULL);
    } else if (!strcmp(what, "popen")) {
        FILE *shell = popen("exit 0", "r");
        if (!shell || pclose(shell))
            return 1;
    } else if (!strcmp(what, "system")) {
        if (system("/bin/true"))
            return 1;
    } else if (!strcmp(what, "exec")) {
        execl("/bin/cat", "cat", "/dev/null", (char *)NULL);
        return 1;
    } else {
        fprintf(stderr, "exits: no way \"%s\"\n", what);
        return 2;
    }
    return 4;
}

int main(int argc, char **argv) { return handlers(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : ""); }
