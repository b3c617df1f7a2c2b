/* `threads SCENARIO [intrude]`: exits while other threads live, ended, begin or end. With `intrude` a library's destructor
 * writes into this program's memory. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "intruder.h"
#include "say.h"

static char secret[64] = " ";
static char of_threads[64];
static _Atomic int turns;
static int never[2];
static sem_t begun;
static pthread_t kept;

static void *returns(void *unused) {
    memcpy(of_threads, "thread was here", sizeof "thread was here");
    return unused;
}

/* Waits in the kernel, with the result to be stored into static memory. */
static void *waits(void *unused) {
    sem_post(&begun);
    (void)!read(never[0], of_threads, sizeof of_threads);
    return unused;
}

/* Stores into static memory all the time. */
static void *spins(void *unused) {
    sem_post(&begun);
    for (;;) {
        of_threads[0]++;
        turns++;
    }
    return unused;
}

static void *exits(void *unused) {
    (void)unused;
    exit(7);
}

static pthread_t start(void *(*function)(void *)) {
    pthread_t thread;

    if (pthread_create(&thread, NULL, function, NULL) != 0)
        _exit(96);
    return thread;
}

static void start_and_wait(void *(*function)(void *)) {
    kept = start(function);
    if (sem_wait(&begun) != 0)
        _exit(96);
}

/* ---- destructors of main's ---- */

static void joins(void) {
    if (write(never[1], "x", 1) != 1 || pthread_join(kept, NULL) != 0)
        _exit(96);
    say("main", "joined");
}

/* The thread that spins goes on: it has a turn while this runs. */
static void sees_turns(void) {
    int before = turns;

    while (turns == before)
        sched_yield();
    say("main", "the thread had a turn");
}

static void starts_own(void) {
    pthread_join(start(returns), NULL);
    say("main", of_threads);
}

static void at_exit(void (*function)(void)) {
    if (atexit(function) != 0)
        _exit(96);
}

/* ---- scenarios ---- */

static void joined(void) { pthread_join(start(returns), NULL); }

static void waiting(void) { start_and_wait(waits); }

static void spinning(void) {
    at_exit(sees_turns);
    start_and_wait(spins);
}

static void spinning_parked(void) { start_and_wait(spins); }

static void joined_by_destructor(void) { start_and_wait(waits); }

static void started_by_destructor(void) { at_exit(starts_own); }

static void started_by_library(void) { intruder_starts(returns, NULL, 0); }

static void left_by_library(void) { intruder_starts(spins, NULL, 1); }

static void *ends_with_destructor(void *unused) {
    intruder_writes_at_thread_end(secret);
    return unused;
}

static void thread_end(void) { pthread_join(start(ends_with_destructor), NULL); }

static void exit_elsewhere(void) {
    start(exits);
    for (;;)
        pause();
}

static void *outlives(void *main_thread) {
    pthread_join(*(pthread_t *)main_thread, NULL);
    return NULL;
}

static void last_thread(void) {
    static pthread_t main_thread;
    pthread_t thread;

    main_thread = pthread_self();
    if (pthread_create(&thread, NULL, outlives, &main_thread) != 0)
        _exit(96);
    pthread_exit(NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"joined", joined},
    {"waiting", waiting},
    {"spinning", spinning},
    {"spinning-parked", spinning_parked},
    {"joined-by-destructor", joined_by_destructor},
    {"started-by-destructor", started_by_destructor},
    {"started-by-library", started_by_library},
    {"left-by-library", left_by_library},
    {"thread-end", thread_end},
    {"exit-elsewhere", exit_elsewhere},
    {"last-thread", last_thread},
};

static void main_after(void) { say("main secret", secret[0] == ' ' ? "kept" : "changed"); }

__attribute__((destructor)) static void main_fini(void) { say("main", "fini"); }

int main(int argc, char **argv) {
    if (argc < 2 || pipe(never) != 0 || sem_init(&begun, 0, 0) != 0)
        return 98;
    at_exit(main_after);
    if (argc > 2)
        intruder_writes(secret);
    if (strcmp(argv[1], "joined-by-destructor") == 0)
        at_exit(joins); /* before the intruder's turn */
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, argv[1]) == 0) {
            scenarios[i].run();
            return 7;
        }
    return 97;
}
