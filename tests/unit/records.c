/* Exit records: numbers, generations, states, the census, memory. */
#include "records.h"
#include <stdio.h>

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run.h"
#include "tamper.h"

struct ia2_counters ia2_counters; /* run.c's, in the runtime */

static unsigned runs, cut_off;

void ia2_count_run(const struct exit_record *record) {
    (void)record;
    runs++;
}

void ia2_count_cut_off(const struct exit_record *record) {
    (void)record;
    cut_off++;
}

_Noreturn void ia2_tampered(const char *what, const char *detail) {
    fprintf(stderr, "tampered: %s %s\n", what, detail ? detail : "");
    abort();
}

TestSuite(records, .timeout = 50);

static struct exit_record *make(uint8_t flags) {
    struct exit_record *record = ia2_record_new();
    cr_assert_not_null(record);
    record->kind = IA2_EXIT_CXA_ATEXIT;
    record->flags = flags;
    return record;
}

static uint64_t counter(_Atomic uint64_t *value) { return atomic_load(value); }

Test(records, a_record_is_no_larger_than_promised) { cr_expect_leq(sizeof(struct exit_record), 64); }

/* ---- before the first ---- */

Test(records, without_a_record_nothing_is_found) {
    cr_expect_null(ia2_record_find(0));
    cr_expect_null(ia2_record_find(1));
    cr_expect_null(ia2_record_find(UINT64_MAX));
    cr_expect_null(ia2_record_at(0));
    cr_expect_eq(ia2_record_index(NULL), UINT32_MAX);
    cr_expect_eq(ia2_record_index((void *)&ia2_records), UINT32_MAX);
    struct ia2_census census;
    ia2_record_census(&census);
    cr_expect_eq(census.registered, 0);
}

/* ---- numbers ---- */

Test(records, a_published_record_is_found_by_its_number) {
    struct exit_record *record = make(0);
    ia2_record_number number = ia2_record_publish(record);
    cr_expect_eq(ia2_record_find(number), record);
    cr_expect_eq(ia2_record_index(record), (uint32_t)number - 1);
    cr_expect_eq(ia2_record_at(ia2_record_index(record)), record);
}

Test(records, a_record_that_is_not_published_is_not_found) {
    struct exit_record *record = make(0);
    uint64_t place = ia2_record_place(record) + 1u;
    for (uint64_t generation = 0; generation < 4; generation++) {
        cr_expect_null(ia2_record_find(generation << 32 | place));
    }
    cr_expect_not(ia2_record_claim(record), "it is not live");
}

Test(records, numbers_that_were_never_given_are_refused) {
    struct exit_record *record = make(0);
    ia2_record_number number = ia2_record_publish(record);
    const ia2_record_number wrong[] = {
        0,
        number + 1,
        number - 1,
        number + 31,
        number + 32,
        number + 1000000,
        number + (1ul << 32),
        number | 0x8000000000000000ul,
        UINT32_MAX,
        UINT64_MAX,
        1ul << 32,
        number & IA2_GENERATION_MASK,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect(wrong[i] == number || ia2_record_find(wrong[i]) == NULL, "%#lx", wrong[i]);
    }
}

Test(records, a_used_number_is_stale_when_its_slot_comes_back) {
    ia2_record_number old[50];
    struct exit_record *first = make(0);
    for (int i = 0; i < 50; i++) {
        struct exit_record *record = i ? make(0) : first;
        cr_assert_eq(record, first, "the free slot is used again");
        old[i] = ia2_record_publish(record);
        for (int j = 0; j < i; j++) {
            cr_assert_neq(old[i], old[j]);
            cr_assert_null(ia2_record_find(old[j]), "generation %d is still good in generation %d", j, i);
        }
        cr_assert_eq(ia2_record_find(old[i]), record);
        ia2_record_free(record);
    }
}

/* ---- states ---- */

Test(records, a_record_is_claimed_once) {
    struct exit_record *record = make(0);
    ia2_record_number number = ia2_record_publish(record);
    cr_expect(ia2_record_claim(record));
    cr_expect_eq(atomic_load(&record->state), IA2_RUNNING);
    cr_expect_not(ia2_record_claim(record));
    cr_expect_null(ia2_record_find(number), "what runs cannot be found a second time");
}

Test(records, a_repeated_record_stays_live) {
    struct exit_record *record = make(IA2_REPEATED);
    ia2_record_number number = ia2_record_publish(record);
    for (int i = 0; i < 1000; i++) {
        cr_assert(ia2_record_claim(record));
        cr_assert_eq(ia2_record_find(number), record);
    }
    ia2_record_free(record);
    cr_expect_not(ia2_record_claim(record));
    cr_expect_null(ia2_record_find(number));
}

Test(records, a_free_record_cannot_be_claimed) {
    struct exit_record *record = make(0);
    ia2_record_publish(record);
    ia2_record_free(record);
    cr_expect_not(ia2_record_claim(record));
}

/* ---- counting ---- */

Test(records, the_census_and_the_counters_add_up) {
    struct exit_record *records[10];
    for (int i = 0; i < 10; i++) {
        records[i] = make(0);
        ia2_record_publish(records[i]);
    }
    for (int i = 0; i < 6; i++) {
        cr_assert(ia2_record_claim(records[i]));
    }
    for (int i = 0; i < 5; i++) {
        atomic_store(&records[i]->state, IA2_DONE);
    }
    ia2_record_free(records[0]); /* done */
    ia2_record_free(records[9]); /* live: an object with handlers that never ran */
    make(0);                     /* not published: no registration yet */
    struct ia2_census census;
    ia2_record_census(&census);
    cr_expect_eq(census.registered, 8);
    cr_expect_eq(census.ran, 5);
    cr_expect_eq(census.live, 3);
    cr_expect_eq(counter(&ia2_counters.registered), 2);
    cr_expect_eq(runs, 1 + 4, "the slot of one tells no more, four are counted by the census");
    cr_expect_eq(cut_off, 1, "the one that has not returned is no success");
}

Test(records, a_run_that_was_left_is_counted_when_its_slot_is_freed) {
    struct exit_record *record = make(0);
    ia2_record_publish(record);
    cr_assert(ia2_record_claim(record));
    ia2_record_free(record);
    cr_expect_eq(runs, 0);
    cr_expect_eq(cut_off, 1);
}

Test(records, a_registration_that_glibc_refused_never_was) {
    struct exit_record *record = make(0);
    ia2_record_number number = ia2_record_publish(record);
    ia2_record_return(record);
    cr_expect_null(ia2_record_find(number));
    cr_expect_eq(counter(&ia2_counters.registered), 0);
    struct ia2_census census;
    ia2_record_census(&census);
    cr_expect_eq(census.registered, 0);
    cr_expect_eq(make(0), record);
}

/* ---- pointers that are no records ---- */

Test(records, foreign_pointers_have_no_index) {
    struct exit_record *record = make(0);
    ia2_record_publish(record);
    uintptr_t base = (uintptr_t)ia2_records.base;
    uint32_t used = atomic_load(&ia2_records.used);
    for (size_t off = 1; off < sizeof *record; off++) {
        cr_expect_eq(ia2_record_index((void *)(base + off)), UINT32_MAX, "%zu bytes into a record", off);
    }
    const uintptr_t foreign[] = {
        0,
        1,
        base - 1,
        base - sizeof *record,
        base + used * sizeof *record,
        base + (1ul << 40),
        UINTPTR_MAX,
        UINTPTR_MAX - sizeof *record + 1,
        (uintptr_t)&used,
        base ^ (1ul << 63),
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        cr_expect_eq(ia2_record_index((void *)foreign[i]), UINT32_MAX, "%#lx", foreign[i]);
    }
    for (uint32_t i = 0; i < used; i++) {
        cr_expect_eq(ia2_record_index(ia2_records.base + i), i);
    }
    cr_expect_null(ia2_record_at(used));
    cr_expect_null(ia2_record_at(UINT32_MAX));
}

/* ---- many ---- */

enum { MANY = 200000 };

/* Bytes of the table that are in memory. The rest of the process is the business of others: threads leave stacks behind. */
static long resident(void) {
    static unsigned char pages[1 << 16]; /* 256 MiB, the whole range that is reserved */
    size_t size = atomic_load(&ia2_records.room) * sizeof(struct exit_record);
    long page = sysconf(_SC_PAGESIZE);
    long count = 0;
    if (size == 0) {
        return 0;
    }
    cr_assert_leq((size + (size_t)page - 1) / (size_t)page, sizeof pages);
    cr_assert_eq(mincore(ia2_records.base, size, pages), 0);
    for (size_t i = 0; i < (size + (size_t)page - 1) / (size_t)page; i++) {
        count += pages[i] & 1;
    }
    return count * page;
}

static void check_memory(long records) {
    long taken = resident();
    cr_expect_gt(taken, 0, "measured at all");
    cr_expect_leq(taken, 256 * 1024 + 64 * records, "%ld bytes for %ld records", taken, records);
}

Test(records, two_hundred_thousand_records) {
    static ia2_record_number numbers[MANY];
    memset(numbers, 1, sizeof numbers);
    for (uint32_t i = 0; i < MANY; i++) {
        struct exit_record *record = make(0);
        record->function = i;
        numbers[i] = ia2_record_publish(record);
        if (i == 0 || i == 4000) {
            check_memory(i + 1);
        }
    }
    check_memory(MANY);
    for (uint32_t i = MANY; i-- > 0;) {
        struct exit_record *record = ia2_record_find(numbers[i]);
        cr_assert_not_null(record);
        cr_assert_eq(record->function, i, "each has a slot of its own");
        cr_assert(ia2_record_claim(record));
    }
    struct ia2_census census;
    ia2_record_census(&census);
    cr_expect_eq(census.ran, MANY);
}

Test(records, slots_are_used_again) {
    for (int i = 0; i < MANY; i++) {
        struct exit_record *record = make(0);
        ia2_record_publish(record);
        ia2_record_free(record);
    }
    cr_expect_leq(atomic_load(&ia2_records.used), 32);
    cr_expect_eq(counter(&ia2_counters.registered), MANY);
}

static void *register_one(void *unused) {
    ia2_record_publish(make(0));
    return unused;
}

/* Programs start threads that register a handler each and end: what a thread took ahead must not be lost with it. */
Test(records, short_threads_cost_no_more_than_their_records) {
    enum { THREADS = 3000 };
    pthread_t thread;
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&thread, NULL, register_one, NULL), 0);
        pthread_join(thread, NULL);
    }
    check_memory(THREADS);
    cr_expect_lt(atomic_load(&ia2_records.used), 2 * THREADS, "%u slots are used up", atomic_load(&ia2_records.used));
}

#ifndef __SANITIZE_ADDRESS__ /* its shadow alone needs more address space than these two leave */

Test(records, a_bounded_address_space_gets_a_small_table) {
    struct rlimit limit = {512ul << 20, 512ul << 20};
    setrlimit(RLIMIT_AS, &limit);
    ia2_record_publish(make(0));
    char *rest = malloc(256ul << 20);
    cr_expect_not_null(rest, "the program must not miss what we reserve");
    free(rest);
}

Test(records, when_the_table_is_full_there_is_no_record) {
    struct rlimit limit = {256ul << 20, 256ul << 20};
    setrlimit(RLIMIT_AS, &limit);
    long count = 0;
    while (ia2_record_new()) {
        cr_assert_lt(++count, 10000000);
    }
    cr_expect_gt(count, 1000);
    cr_expect_null(ia2_record_new());
    struct exit_record *last = ia2_record_at(atomic_load(&ia2_records.used) - 1);
    ia2_record_publish(last);
    ia2_record_free(last);
    cr_expect_eq(ia2_record_new(), last, "a slot that comes back can be used");
}

#endif
