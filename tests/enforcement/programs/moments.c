/* `moments HOW PLUGIN [crime]`: leaves in the way that HOW says, with a destructor of a library that writes to data of ours, or not. */
#include <argp.h>
#include <dlfcn.h>
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "moments.h"
#include "say.h"

static volatile int secret;
static const char *plugin;
static int crime;
static pthread_barrier_t together;

static void leave(int number) {
    (void)number;
    exit(7);
}

static void *leave_from_thread(void *barrier) {
    if (barrier)
        pthread_barrier_wait(barrier);
    exit(7);
}

static void wait_for_ever(void) {
    for (;;)
        pause();
}

static pthread_t new_thread(void *(*function)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, argument) != 0)
        _exit(90);
    return thread;
}

static void *load(int flags) {
    volatile int **aim;
    void *handle = dlopen(plugin, RTLD_NOW | flags);
    if (!handle)
        _exit(91);
    aim = dlsym(handle, "moments_plugin_aim");
    if (aim && crime)
        *aim = &secret;
    return handle;
}

static void *return_at_once(void *unused) { return unused; }
static void exit_inside(void) { exit(7); }
static void load_inside(void) { load(0); }

static void spawn_inside(void) {
    char *arguments[] = {"true", NULL};
    pid_t child;
    int status = -1;
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, NULL) != 0 || waitpid(child, &status, 0) != child)
        _exit(92);
    say_number("main", "spawned", status);
    child = vfork();
    if (child == 0)
        _exit(5);
    waitpid(child, &status, 0);
    say_number("main", "vforked", WEXITSTATUS(status));
}

static int by_fork(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        exit(6);
    waitpid(child, &status, 0);
    say_number("main", "child", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    secret = 0;
    moments_aim(NULL); /* the child's was the crime */
    return 7;
}

static int by_argp(char *name) {
    char *arguments[] = {name, "--help", NULL};
    static const struct argp parser = {.doc = "leaves from within libc"};
    argp_parse(&parser, 2, arguments, 0, NULL, NULL);
    return 93;
}

static int by_two_threads(void) {
    pthread_barrier_init(&together, NULL, 2);
    new_thread(leave_from_thread, &together);
    leave_from_thread(&together);
    return 94;
}

static int leave_by(const char *how, char *name) {
    if (strcmp(how, "signal") == 0) {
        signal(SIGUSR1, leave);
        raise(SIGUSR1);
    } else if (strcmp(how, "destructor") == 0) {
        atexit(exit_inside);
    } else if (strcmp(how, "register") == 0) {
        moments_register_registering();
    } else if (strcmp(how, "load") == 0) {
        atexit(load_inside);
    } else if (strcmp(how, "spawn") == 0) {
        atexit(spawn_inside);
    } else if (strcmp(how, "thread") == 0) {
        new_thread(leave_from_thread, NULL);
        wait_for_ever();
    } else if (strcmp(how, "two") == 0) {
        return by_two_threads();
    } else if (strcmp(how, "last-thread") == 0) {
        new_thread(return_at_once, NULL);
        pthread_exit(NULL);
    } else if (strcmp(how, "errx") == 0) {
        errx(7, "leaving");
    } else if (strcmp(how, "argp") == 0) {
        return by_argp(name);
    } else if (strcmp(how, "fork") == 0) {
        return by_fork();
    } else if (strcmp(how, "quick") == 0) {
        moments_register_quick();
        quick_exit(7);
    } else if (strcmp(how, "unload") == 0) {
        dlclose(load(0));
        say_number("main", "after", secret);
        secret = 0;
    } else if (strcmp(how, "pinned") == 0) {
        dlclose(load(RTLD_NODELETE));
    } else if (strcmp(how, "constructor") == 0) {
        load(0);
    }
    return 7;
}

__attribute__((destructor)) static void end(void) { say_number("main", "secret", secret); }

int main(int argc, char **argv) {
    if (argc < 3)
        return 99;
    plugin = argv[2];
    crime = argc > 3;
    moments_aim(crime ? &secret : NULL);
    if (strcmp(argv[1], "quick") != 0 && strcmp(argv[1], "register") != 0)
        moments_register();
    return leave_by(argv[1], argv[0]);
}
