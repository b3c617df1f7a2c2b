/* Exit records under several threads at once: no slot is given out twice, each record runs once, the counts add up.
 * Built a second time with ThreadSanitizer (ctest unit_records_threads_tsan). */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "records.h"
#include "run.h"
#include "tamper.h"

struct ia2_counters ia2_counters; /* run.c's, in the runtime */

void ia2_count_run(const struct exit_record *record) { (void)record; }
void ia2_count_cut_off(const struct exit_record *record) { (void)record; }

_Noreturn void ia2_tampered(const char *what, const char *detail) {
    fprintf(stderr, "tampered: %s %s\n", what, detail ? detail : "");
    abort();
}

enum { THREADS = 4, ROUNDS = 4000, HELD = 64, SHARED = 64, CLAIMS = 2000 };

static ia2_record_number publish(uintptr_t owner) {
    struct exit_record *record = ia2_record_new();
    CHECK(record);
    record->function = owner;
    record->argument = owner;
    record->dso = owner;
    record->flags = 0;
    return ia2_record_publish(record);
}

static struct exit_record *check_mine(ia2_record_number number, uintptr_t owner) {
    struct exit_record *record = ia2_record_find(number);
    CHECK(record && record->function == owner && record->argument == owner && record->dso == owner);
    return record;
}

/* Holds up to HELD records, gives them back in another order, and finds its own in each. */
static void *allocate(void *name) {
    ia2_record_number held[HELD] = {0};
    uint32_t random = (uint32_t)(uintptr_t)name * 2654435761u;
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        random = random * 1664525u + 1013904223u;
        ia2_record_number *place = &held[random >> 16 & (HELD - 1)];
        uintptr_t owner = (uintptr_t)name << 32 | (uintptr_t)(place - held);
        if (*place) {
            struct exit_record *record = check_mine(*place, owner);
            CHECK(ia2_record_claim(record));
            atomic_store(&record->state, IA2_DONE);
            ia2_record_free(record);
            CHECK(!ia2_record_find(*place));
        }
        *place = publish(owner);
    }
    for (uintptr_t i = 0; i < HELD; i++) {
        if (held[i]) {
            ia2_record_free(check_mine(held[i], (uintptr_t)name << 32 | i));
        }
    }
    return NULL;
}

static ia2_record_number shared[SHARED];
static _Atomic int turn;
static _Atomic int waiting;
static _Atomic int claims;

/* All threads claim the same records at the same moment. */
static void *claim(void *unused) {
    for (int round = 1; round <= CLAIMS / SHARED; round++) {
        atomic_fetch_add(&waiting, 1);
        while (atomic_load(&turn) < round) {
            sched_yield();
        }
        for (int i = 0; i < SHARED; i++) {
            struct exit_record *record = ia2_record_find(shared[i]);
            if (record && ia2_record_claim(record)) {
                atomic_fetch_add(&claims, 1);
            }
        }
    }
    atomic_fetch_add(&waiting, 1);
    return unused;
}

static void run(void *(*function)(void *), pthread_t threads[THREADS]) {
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, function, (void *)(i + 1)) == 0);
    }
}

static void join(pthread_t threads[THREADS]) {
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void wait_for_all(void) {
    while (atomic_load(&waiting) < THREADS) {
        sched_yield();
    }
    atomic_store(&waiting, 0);
}

int main(void) {
    pthread_t threads[THREADS];
    run(allocate, threads);
    join(threads);
    struct ia2_census census;
    ia2_record_census(&census);
    CHECK(census.registered == 0 && census.live == 0);
    CHECK(atomic_load(&ia2_counters.registered) == (uint64_t)THREADS * ROUNDS);
    CHECK(atomic_load(&ia2_records.used) <= THREADS * (HELD + 64));

    run(claim, threads);
    for (int round = 1; round <= CLAIMS / SHARED; round++) {
        wait_for_all();
        for (int i = 0; i < SHARED; i++) {
            shared[i] = publish(1);
        }
        atomic_store(&turn, round);
    }
    wait_for_all();
    join(threads);
    CHECK(atomic_load(&claims) == CLAIMS / SHARED * SHARED);
    ia2_record_census(&census);
    CHECK(census.ran == (uint64_t)(CLAIMS / SHARED * SHARED) && census.live == 0);
    return 0;
}
