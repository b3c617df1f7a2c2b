#include "intruder.h"

#include <pthread.h>
#include <stdlib.h>

#include "say.h"

extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);

static char *aimed;
static void *(*to_start)(void *);
static void *its_argument;
static int leaves;

static void intruder_write(void) {
    *(volatile char *)aimed = '!';
    say("intruder", "wrote");
}

void intruder_writes(char *secret) {
    aimed = secret;
    if (atexit(intruder_write) != 0)
        _exit(96);
}

static void intruder_idle(void) { say("intruder", "idle"); }

void intruder_idles(void) {
    if (atexit(intruder_idle) != 0)
        _exit(96);
}

static int (*to_call)(void);

static void intruder_call(void) { say_number("intruder", "answer", to_call()); }

void intruder_calls(int (*function)(void)) {
    to_call = function;
    if (atexit(intruder_call) != 0)
        _exit(96);
}

static void intruder_start(void) {
    pthread_t thread;

    if (pthread_create(&thread, NULL, to_start, its_argument) != 0 || (!leaves && pthread_join(thread, NULL) != 0))
        _exit(96);
    say("intruder", leaves ? "started" : "started and joined");
}

void intruder_starts(void *(*function)(void *), void *argument, int leave) {
    to_start = function;
    its_argument = argument;
    leaves = leave;
    if (atexit(intruder_start) != 0)
        _exit(96);
}

static void intruder_write_at_thread_end(void *at) {
    *(volatile char *)at = '!';
    say("intruder", "wrote at a thread's end");
}

void intruder_writes_at_thread_end(char *secret) {
    if (__cxa_thread_atexit_impl(intruder_write_at_thread_end, secret, &__dso_handle) != 0)
        _exit(96);
}
