/* What happens after the last destructor: `late LIBRARY WHAT` leaves a stream unflushed, whose callback glibc calls when it ends stdio. The
 * library's data is what no destructor of main's may touch; now everything is open to everyone, as it was in main(). */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "late.h"
#include "say.h"

static char greeting[32] = "static data of main";
static const char *what;
static void *library;
static volatile int *nowhere;

static void handle(int number) {
    (void)number;
    late_text[0] = 'S';
    if (write(STDOUT_FILENO, late_text, strlen(late_text)) < 0)
        _exit(90);
    say("handler", greeting);
    if (strcmp(what, "caught") == 0)
        _exit(9);
}

static void *run(void *unused) {
    (void)unused;
    say("thread", late_text);
    if (write(STDOUT_FILENO, late_text, strlen(late_text)) < 0)
        _exit(91);
    return NULL;
}

static void create_thread(void) {
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, NULL) != 0 || pthread_join(thread, NULL) != 0)
        _exit(92);
}

static void create_child(void) {
    pid_t child = fork();

    if (child == 0) {
        late_text[0] = 'C';
        say("child", late_text);
        _exit(0);
    }
    if (child < 0 || waitpid(child, NULL, 0) != child)
        _exit(93);
}

static ssize_t late(void *cookie, const char *text, size_t size) {
    (void)cookie;
    (void)text;
    if (strcmp(what, "touch") == 0) {
        late_text[0] = 'T';
        greeting[0] = 'S';
    } else if (strcmp(what, "write") == 0) {
        if (write(STDOUT_FILENO, late_text, strlen(late_text)) < 0)
            _exit(94);
    } else if (strcmp(what, "signal") == 0) {
        raise(SIGUSR1);
    } else if (strcmp(what, "unload") == 0) {
        if (dlclose(library) != 0)
            _exit(95);
    } else if (strcmp(what, "thread") == 0) {
        create_thread();
    } else if (strcmp(what, "fork") == 0) {
        create_child();
    } else if (strcmp(what, "fault") == 0 || strcmp(what, "caught") == 0) {
        *nowhere = 1;
    } else if (strcmp(what, "exec") == 0) {
        execl("/bin/echo", late_text, greeting, late_text, (char *)NULL);
        _exit(96);
    }
    say("late", greeting);
    say("late", late_text);
    return (ssize_t)size;
}

__attribute__((destructor)) static void last(void) { say("destructor", greeting); }

int main(int argc, char **argv) {
    const cookie_io_functions_t functions = {.write = late};
    FILE *stream = fopencookie(NULL, "w", functions);

    library = argc > 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!stream || !library || fputs("unflushed", stream) < 0)
        return 1;
    what = argv[2];
    signal(SIGUSR1, handle);
    if (strcmp(what, "caught") == 0)
        signal(SIGSEGV, handle);
    late_touch();
    return 7;
}
