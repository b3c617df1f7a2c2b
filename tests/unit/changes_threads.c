/* Changes of rights under several threads at once: threads begin and end, run destructors, and take what was told; one loads and unloads.
 * Built a second time with ThreadSanitizer (ctest unit_changes_threads_tsan). */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "changes.h"
#include "check.h"

enum { THREADS = 6, LIVES = 60, RUNS = 1000, OBJECTS = 4, NUMBERS = 64, FIRST_LOADS = 1000 };

/* An object: whose rights its destructors get. Two words in one: number << 32 | which object it is. 0: not loaded. */
static _Atomic uint64_t loaded[OBJECTS];
/* Whose a number is, as the table of objects would have it; only the loading thread writes it. */
static _Atomic uint32_t holder[NUMBERS];
static _Atomic uint32_t keys; /* what KEYS_CHANGED is about: grows */
static _Atomic uint32_t keys_told;
static _Atomic uint64_t ran, applied;
static _Atomic bool loading, done;
/* A slot goes from a thread that has ended to one that has its stack: glibc's lists of stacks order that, which TSan cannot see. */
static _Atomic uint32_t ended;

static uint32_t next_random(uint32_t *random) { return (*random = *random * 1664525u + 1013904223u) >> 16; }

/* One destructor of an object: its rights are its own until it returns. */
static void run_one(struct ia2_thread *thread, uint32_t *random) {
    ia2_changes_begin_run(thread);
    const uint64_t object = atomic_load(&loaded[next_random(random) % OBJECTS]);
    if (object != 0) {
        const uint32_t steps = next_random(random) % 8;
        for (uint32_t step = 0; step <= steps; step++) {
            CHECK(atomic_load(&holder[object >> 32]) == (uint32_t)object);
            if (step % 4 == 3) {
                sched_yield();
            }
        }
        atomic_fetch_add(&ran, 1);
    }
    ia2_changes_end_run(thread);
}

static void *live(void *seed) {
    uint32_t random = (uint32_t)(uintptr_t)seed * 2654435761u;
    (void)atomic_load_explicit(&ended, memory_order_acquire);
    struct ia2_thread *thread = ia2_self();
    uint32_t mine = 0; /* the keys that this thread knows of */
    CHECK(ia2_thread_slot(thread) != 0);
    for (uint32_t run = 0; run < RUNS; run++) {
        const uint32_t told = atomic_load(&keys_told);
        if (ia2_changes_due(thread) && ia2_changes_take(thread) & IA2_KEYS_CHANGED) {
            mine = atomic_load(&keys);
            atomic_fetch_add(&applied, 1);
        }
        CHECK(mine >= told);
        run_one(thread, &random);
    }
    atomic_fetch_add_explicit(&ended, 1, memory_order_release);
    return NULL;
}

static void *live_again_and_again(void *seed) {
    for (uintptr_t life = 0; life < LIVES; life++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, live, (void *)((uintptr_t)seed * LIVES + life)) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static void *load_and_unload(void *unused) {
    uint64_t retired[NUMBERS] = {0};
    uint32_t random = 1;
    (void)unused;
    for (uint32_t loads = 0; !atomic_load(&done); loads++) {
        atomic_store(&loading, loads >= FIRST_LOADS);
        const uint32_t place = next_random(&random) % OBJECTS;
        const uint64_t gone = atomic_exchange(&loaded[place], 0);
        if (gone != 0) {
            retired[gone >> 32] = ia2_changes_retire();
        }
        const uint64_t oldest = ia2_changes_oldest();
        uint32_t number = 1;
        for (uint32_t other = 0; other < OBJECTS; other++) { /* numbers that are in use are as good as retired now */
            const uint64_t there = atomic_load(&loaded[other]);
            retired[there >> 32] = there ? oldest : retired[there >> 32];
        }
        while (number < NUMBERS && retired[number] >= oldest) {
            number++;
        }
        if (number < NUMBERS) { /* else: all are in quarantine; try again */
            atomic_store(&holder[number], loads + 1);
            atomic_store(&loaded[place], (uint64_t)number << 32 | (loads + 1));
        }
        if (loads % 16 == 0) {
            atomic_fetch_add(&keys, 1);
            ia2_changes_tell(loads % 32 ? IA2_KEYS_CHANGED : IA2_KEYS_CHANGED | IA2_MAPPINGS_CHANGED);
            atomic_store(&keys_told, atomic_load(&keys));
        }
    }
    return NULL;
}

int main(void) {
    pthread_t loader, threads[THREADS];
    CHECK(pthread_create(&loader, NULL, load_and_unload, NULL) == 0);
    while (!atomic_load(&loading)) {
        sched_yield();
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, live_again_and_again, (void *)(i + 1)) == 0);
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    atomic_store(&done, true);
    CHECK(pthread_join(loader, NULL) == 0);
    CHECK(atomic_load(&ran) > 0 && atomic_load(&applied) > 0);
    printf("%lu destructors ran, changes were applied %lu times\n", atomic_load(&ran), atomic_load(&applied));
    return 0;
}
