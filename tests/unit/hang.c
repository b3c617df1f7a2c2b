/* Whom a dump asks, and who answers. Each test is a process of its own; the events are counted here. */
#include "hang.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "events.h"

#define THREADS 100

static _Atomic int timeouts;
static _Atomic int stacks[THREADS]; /* by thread */
static __thread int number = -1;    /* of this thread; -1: it has none */
static pid_t asked_first;
static sem_t ready;
static sem_t answered;
static sem_t end;

void ia2_event_timeout(const char *detail, const ucontext_t *context) {
    cr_expect_str_eq(detail, "");
    cr_expect(context);
    asked_first = gettid();
    timeouts++;
}

void ia2_event_stack(const ucontext_t *context) {
    cr_assert(context && number >= 0);
    stacks[number]++;
    sem_post(&answered);
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal;
    ia2_hang_dump(info, context);
}

static void *wait_for_the_end(void *given) {
    number = (int)(intptr_t)given;
    if (number == 0) {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
    }
    sem_post(&ready);
    while (sem_wait(&end) != 0) {
    }
    return NULL;
}

Test(hang, every_thread_that_listens_answers_once, .timeout = 30) {
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMAX - 2, &action, NULL);
    sem_init(&ready, 0, 0);
    sem_init(&answered, 0, 0);
    sem_init(&end, 0, 0);
    for (intptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, wait_for_the_end, (void *)i);
        while (sem_wait(&ready) != 0) {
        }
    }
    kill(getpid(), SIGRTMAX - 2); /* this thread takes it: it is the one that is running and does not block it */
    for (int i = 1; i < THREADS; i++) {
        while (sem_wait(&answered) != 0) {
        }
    }
    for (int i = 0; i < THREADS; i++) {
        sem_post(&end);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_expect_eq(timeouts, 1);
    cr_expect_eq(asked_first, gettid());
    cr_expect_eq(stacks[0], 0, "it blocks the signal");
    for (int i = 1; i < THREADS; i++) {
        cr_expect_eq(stacks[i], 1, "thread %d answered %d times", i, stacks[i]);
    }
}
