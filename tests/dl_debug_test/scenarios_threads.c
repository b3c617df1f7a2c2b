/* Scenarios about the ends of threads. */
#include "scenarios.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "library.h"
#include "log.h"
#include "program.h"

static pthread_key_t again_key;
static pthread_key_t freed_key;

/* Sets its value again: runs PTHREAD_DESTRUCTOR_ITERATIONS times. */
static void again_destructor(void *value) {
    log_ran("pthread_key", __func__, "set_again", pthread_setspecific(again_key, value));
}

static void register_in_every_object(void) {
    main_register_in_thread();
    library_register_in_thread();
    library_cxx_register_in_thread();
    library_cxx_construct_in_thread();
}

static void *returning_thread(void *unused) {
    register_in_every_object();
    log_step("setspecific", pthread_setspecific(again_key, &again_key));
    log_step("setspecific", pthread_setspecific(freed_key, malloc(16)));
    return unused;
}

static void *exiting_thread(void *unused) {
    register_in_every_object();
    (void)unused;
    pthread_exit(NULL);
}

static void *cancelled_thread(void *unused) {
    register_in_every_object();
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return unused;
}

int scenario_thread_end(void) {
    main_register();
    library_register();
    library_cxx_register();
    log_registered("pthread_key", "again_destructor", pthread_key_create(&again_key, again_destructor));
    log_registered("pthread_key", "free", pthread_key_create(&freed_key, free));
    in_thread(returning_thread);
    in_thread(exiting_thread);
    in_thread(cancelled_thread);
    log_step("key_delete", pthread_key_delete(again_key));
    in_thread(returning_thread); /* the deleted key's destructor runs no more */
    return 0;
}

static void *thread_that_exits_the_process(void *unused) {
    register_in_every_object();
    (void)unused;
    exit(12);
}

int scenario_thread_exit(void) {
    register_everything();
    in_thread(thread_that_exits_the_process);
    return 1; /* not reached: the exit above ends the wait for the thread */
}

/* Is main's thread a zombie, as it is until the process ends (proc(5), "stat")? */
static int main_is_gone(void) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    int file = open(path, O_RDONLY);
    ssize_t length = file >= 0 ? read(file, line, sizeof line - 1) : -1;
    close(file);
    line[length > 0 ? length : 0] = '\0';
    const char *state = strrchr(line, ')');
    return !state || state[1] != ' ' || state[2] == 'Z';
}

/* With glibc 2.43 a thread can be joined before it has counted itself out: the two would race for who is the last. */
static void *last_thread_of_process(void *main_thread) {
    log_step("main_joined", pthread_join(*(pthread_t *)main_thread, NULL));
    while (!main_is_gone())
        sched_yield();
    register_in_every_object();
    return NULL;
}

/* main's thread ends; the end of the last thread is exit(0), by a call inside libc. */
int scenario_last_thread(void) {
    static pthread_t main_thread;
    pthread_t thread;

    main_thread = pthread_self();
    register_everything();
    if (pthread_create(&thread, NULL, last_thread_of_process, &main_thread) != 0)
        return 98;
    pthread_exit(NULL);
}

static void never_called(void *value) { log_ran("pthread_key", __func__, "called", value != NULL); }

/* The runtime must leave the program all keys that it would have without it. */
int scenario_key_limit(void) {
    pthread_key_t key;
    int created = 0;
    int result;

    do {
        result = pthread_key_create(&key, never_called);
        log_registered("pthread_key", "never_called", result);
        created += result == 0;
    } while (result == 0);
    log_step("keys_created", created);
    log_step("key_delete", pthread_key_delete(key));
    log_registered("pthread_key", "never_called", pthread_key_create(&key, never_called));
    log_step("invalid_delete", pthread_key_delete(1u << 20));
    return 0;
}
