/* `threads SCENARIO [LIBRARY]`: threads that register, end, load libraries and exit beside one another. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

int __cxa_atexit(void (*)(void *), void *, void *);
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

enum { ROUNDS = 200, THREADS = 4, KEYS = 1024 };

static void fail(const char *what) {
    dprintf(2, "%s\n", what);
    _Exit(98);
}

/* ---- handlers registered in two threads while two others load and unload ---- */

static _Atomic int ran[THREADS][ROUNDS];
static _Atomic int plugin_handlers;
static pthread_barrier_t all_there;
static const char *libraries[2];

void plugin_ended(const char *what);
void plugin_ended(const char *what) { plugin_handlers += strcmp(what, "atexit") == 0; }

static void count(void *counter) { ++*(_Atomic int *)counter; }

static void *registers(void *number) {
    _Atomic int *mine = ran[(uintptr_t)number];
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < ROUNDS; i++) {
        if (__cxa_atexit(count, (void *)&mine[i], &__dso_handle) != 0) {
            fail("__cxa_atexit");
        }
    }
    return NULL;
}

static void *loads(void *number) {
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < ROUNDS; i++) {
        void *handle = dlopen(libraries[(uintptr_t)number], RTLD_NOW);
        if (!handle || dlclose(handle) != 0) {
            fail("dlopen or dlclose");
        }
    }
    return NULL;
}

static void told(void) {
    int once = 0;
    for (int i = 0; i < THREADS; i++) {
        for (int j = 0; j < ROUNDS; j++) {
            once += ran[i][j] == 1;
        }
    }
    dprintf(1, "%d once, %d of plugins\n", once, plugin_handlers);
}

static void run_threads(int threads, void *(*first)(void *), void *(*second)(void *)) {
    pthread_t started[THREADS];
    pthread_barrier_init(&all_there, NULL, (unsigned)threads);
    for (uintptr_t i = 0; i < (uintptr_t)threads; i++) {
        if (pthread_create(&started[i], NULL, i < 2 ? first : second, (void *)(i < 2 ? i : i - 2)) != 0) {
            fail("pthread_create");
        }
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(started[i], NULL);
    }
}

static void storm(void) {
    atexit(told); /* registered first, so it runs last */
    run_threads(4, registers, loads);
}

/* ---- exit while another thread registers ---- */

static _Atomic int registered;

static void *registers_on(void *unused) {
    static _Atomic int counter;
    for (int i = 0; i < 3000 && __cxa_atexit(count, (void *)&counter, &__dso_handle) == 0; i++) {
        registered++;
    }
    return unused;
}

static void exit_meanwhile(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, registers_on, NULL) != 0) {
        fail("pthread_create");
    }
    while (registered < 100) {
        sched_yield();
    }
    exit(5);
}

/* ---- keys ---- */

static void with_value(void *value) { dprintf(1, "value %d\n", (int)(uintptr_t)value); }

/* As many keys as glibc has, given back, and again; its own message when there are no more. */
static void all_keys(void) {
    static pthread_key_t keys[KEYS];
    for (int round = 0; round < 50; round++) {
        int made = 0;
        while (made < KEYS && pthread_key_create(&keys[made], with_value) == 0) {
            made++;
        }
        pthread_key_t one_more;
        int refused = pthread_key_create(&one_more, with_value);
        if (round % 10 == 0) {
            dprintf(1, "%d keys, then %d\n", made, refused);
        }
        for (int i = 0; i < made; i++) {
            pthread_key_delete(keys[round % 2 ? made - 1 - i : i]);
        }
    }
}

static pthread_key_t key, deleted, silent;
static tss_t c11;

static void *sets(void *value) {
    pthread_setspecific(key, value);
    pthread_setspecific(deleted, value);
    pthread_setspecific(silent, value);
    return NULL;
}

static void in_thread(void *(*start)(void *), uintptr_t value) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, start, (void *)value) != 0) {
        fail("pthread_create");
    }
    pthread_join(thread, NULL);
}

static void *sets_then_deletes(void *value) {
    sets(value);
    pthread_key_delete(deleted);
    return NULL;
}

static void values(void) {
    pthread_key_create(&key, with_value);
    pthread_key_create(&deleted, with_value);
    pthread_key_create(&silent, NULL);
    pthread_setspecific(key, (void *)4711); /* main's: exit does not run it */
    for (uintptr_t value = 1; value <= 3; value++) {
        in_thread(sets, 10 * value);
    }
    in_thread(sets, 0); /* no value, no call */
    in_thread(sets_then_deletes, 40);
    in_thread(sets, 50);
    /* The number comes back, for another function. */
    pthread_key_create(&deleted, free);
    in_thread(sets, 0);
}

static int left;

static void sets_again(void *value) {
    with_value(value);
    if (--left > 0) {
        pthread_setspecific(key, (void *)((uintptr_t)value + 1));
    }
}

/* glibc asks four times at most. */
static void again(void) {
    pthread_key_create(&key, sets_again);
    left = 3;
    in_thread(sets, 60);
    left = 10;
    in_thread(sets, 70);
}

static void deletes_itself(void *value) {
    with_value(value);
    pthread_key_delete(key);
}

static void self_deleting(void) {
    pthread_key_create(&key, deletes_itself);
    in_thread(sets, 80);
    in_thread(sets, 81);
}

static int sets_c11(void *value) { return tss_set(c11, value) == thrd_success ? 7 : 8; }

static void c11_keys(void) {
    thrd_t thread;
    int result;
    for (uintptr_t value = 1; value <= 2; value++) {
        if (tss_create(&c11, with_value) != thrd_success ||
            thrd_create(&thread, sets_c11, (void *)value) != thrd_success) {
            fail("tss_create");
        }
        thrd_join(thread, &result);
        dprintf(1, "joined %d\n", result);
        tss_delete(c11);
        /* After tss_delete no call for the value of a thread that still runs. */
    }
    tss_create(&c11, NULL);
    tss_create(&c11, with_value);
    tss_set(c11, (void *)90);
    tss_delete(c11);
}

static void main_ends_as_a_thread(void) {
    pthread_key_create(&key, with_value);
    pthread_setspecific(key, (void *)100);
    pthread_exit(NULL);
}

/* ---- the end of a thread ---- */

static void *registers_for_its_end(void *value) {
    __cxa_thread_atexit_impl(with_value, value, &__dso_handle);
    __cxa_thread_atexit_impl(with_value, (void *)((uintptr_t)value + 1), &__dso_handle);
    return NULL;
}

static void thread_ends(void) {
    for (uintptr_t i = 0; i < 500; i++) {
        in_thread(registers_for_its_end, 2 * i);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"storm", storm},
    {"exit-meanwhile", exit_meanwhile},
    {"all-keys", all_keys},
    {"values", values},
    {"again", again},
    {"self-deleting", self_deleting},
    {"c11", c11_keys},
    {"main-thread", main_ends_as_a_thread},
    {"thread-ends", thread_ends},
};

int main(int argc, char **argv) {
    libraries[0] = argc > 3 ? argv[2] : NULL;
    libraries[1] = argc > 3 ? argv[3] : NULL;
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 3;
        }
    }
    return 99;
}
