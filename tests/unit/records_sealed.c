/* Exit records where memory is closed: what is changed behind the runtime's back is found before it runs. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "records.h"
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

static jmp_buf back;
static bool may_find; /* somebody waits for it at `back` */

_Noreturn void ia2_tampered(const char *what, const char *detail) {
    cr_assert(may_find, "%s (%s): nothing was changed", what, detail ? detail : "");
    longjmp(back, 1);
}

static void prepare(void) {
    ia2_secret_make();
    ia2_sealed.enforcing = true;
}

TestSuite(records_sealed, .init = prepare, .timeout = 50);

/* A live record, no bit pattern of which is a common value. */
static struct exit_record *make(uint8_t flags) {
    struct exit_record *record = ia2_record_new();
    cr_assert_not_null(record);
    record->function = 0x7f12345678a0;
    record->argument = 0x7f0000000123;
    atomic_store(&record->dso, 0x7f1234560040);
    record->registrar = 0x7f1234567abc;
    record->owner = 3;
    record->also = 9;
    record->kind = IA2_EXIT_CXA_ATEXIT;
    record->flags = flags;
    ia2_record_publish(record);
    return record;
}

enum claim { REFUSED, CLAIMED, FOUND };

static enum claim claim(struct exit_record *record) {
    volatile enum claim outcome = FOUND;
    may_find = true;
    if (setjmp(back) == 0) {
        outcome = ia2_record_claim(record) ? CLAIMED : REFUSED;
    }
    may_find = false;
    return outcome;
}

/* ---- every bit ----------------------------------------------------------------------------------------------------------------------- */

/* Of whichever record; `used` slots before it, so that its own number is not 1: one bit less, and it would be no number. */
static void flip_every_bit(uint8_t flags) {
    make(0);
    make(0);
    struct exit_record *record = make(flags);
    unsigned char *bytes = (unsigned char *)record;
    for (unsigned bit = 0; bit < 8 * sizeof *record; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        cr_expect_eq(claim(record), FOUND, "bit %u of byte %u", bit % 8, bit / 8);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    cr_expect_eq(claim(record), CLAIMED, "as it was");
}

Test(records_sealed, a_flipped_bit_is_found) { flip_every_bit(0); }
Test(records_sealed, a_flipped_bit_of_a_vague_record_is_found) { flip_every_bit(IA2_VAGUE | IA2_FOREIGN); }
Test(records_sealed, a_flipped_bit_of_a_record_that_repeats_is_found) { flip_every_bit(IA2_REPEATED); }

/* Two at a time: no pair of bits makes up for each other. */
Test(records_sealed, two_flipped_bits_are_found) {
    make(0);
    make(0);
    make(0);
    make(0);
    make(0);
    make(0); /* number 7: two bits less are still a number */
    struct exit_record *record = make(0);
    unsigned char *bytes = (unsigned char *)record;
    unsigned found = 0;
    for (unsigned a = 0; a < 8 * sizeof *record; a++) {
        for (unsigned b = 0; b < a; b++) {
            bytes[a / 8] ^= (unsigned char)(1u << a % 8);
            bytes[b / 8] ^= (unsigned char)(1u << b % 8);
            found += claim(record) == FOUND;
            bytes[a / 8] ^= (unsigned char)(1u << a % 8);
            bytes[b / 8] ^= (unsigned char)(1u << b % 8);
        }
    }
    enum { BITS = 8 * sizeof *record };
    cr_expect_eq(found, BITS * (BITS - 1) / 2);
    cr_expect_eq(claim(record), CLAIMED, "as it was");
}

Test(records_sealed, a_number_that_is_gone_is_refused) {
    struct exit_record *record = make(0);
    ia2_record_number number = atomic_load(&record->number);
    atomic_store(&record->number, number & IA2_GENERATION_MASK);
    cr_expect_eq(claim(record), REFUSED, "it does not run");
}

/* ---- whole records ----------------------------------------------------------------------------------------------------------------- */

Test(records_sealed, a_record_is_no_other_one) {
    struct exit_record *one = make(0);
    struct exit_record *other = make(0);
    memcpy(other, one, sizeof *other);
    cr_expect_eq(claim(other), FOUND, "copied with its code");
    cr_expect_eq(claim(one), CLAIMED);
}

Test(records_sealed, a_code_holds_for_one_generation) {
    struct exit_record before;
    struct exit_record *record = make(0);
    memcpy(&before, record, sizeof before);
    ia2_record_free(record);
    cr_assert_eq(make(0), record, "the slot is used again");
    cr_expect_neq(record->mac, before.mac, "all is the same but the generation");
    record->mac = before.mac;
    cr_expect_eq(claim(record), FOUND);
}

Test(records_sealed, a_code_is_of_this_process_only) {
    struct exit_record *record = make(0);
    uint64_t mac = record->mac;
    for (unsigned bit = 0; bit < 8 * sizeof ia2_record_key; bit++) {
        ia2_record_key[bit / 64] ^= 1ul << bit % 64;
        cr_expect_neq(ia2_record_mac(record, ia2_record_what_live(record)), mac, "another key: bit %u", bit);
        ia2_record_key[bit / 64] ^= 1ul << bit % 64;
    }
    cr_expect_eq(ia2_record_mac(record, ia2_record_what_live(record)), mac);
}

Test(records_sealed, what_the_runtime_changes_it_seals_again) {
    struct exit_record *record = make(0);
    record->owner = 4;
    ia2_record_seal(record);
    cr_expect_eq(claim(record), CLAIMED);
}

Test(records_sealed, records_from_before_the_backend_was_chosen_get_their_code) {
    ia2_sealed.enforcing = false;
    struct exit_record *records[3] = {make(0), make(IA2_REPEATED), make(0)};
    ia2_record_free(records[2]);
    ia2_sealed.enforcing = true;
    ia2_records_seal_all();
    cr_expect_eq(claim(records[0]), CLAIMED);
    cr_expect_eq(claim(records[1]), CLAIMED);
    cr_expect_eq(claim(records[2]), REFUSED, "a free one is none");
}

/* ---- states ------------------------------------------------------------------------------------------------------------------------- */

Test(records_sealed, what_runs_or_has_run_is_refused_and_not_called_tampering) {
    struct exit_record *record = make(0);
    cr_expect_eq(claim(record), CLAIMED);
    record->outer_sp = 0x7ffc00001230; /* what run.c keeps in the place of the code */
    record->outer = 2;
    record->outer_pkru = 0x55555554;
    record->outcome = IA2_VIOLATION;
    cr_expect_eq(claim(record), REFUSED);
    atomic_store(&record->state, IA2_DONE);
    cr_expect_eq(claim(record), REFUSED);
    ia2_record_free(record);
    cr_expect_eq(claim(record), REFUSED);
}

/* The same records from several threads at once: each is claimed once, and who comes too late has not found any tampering. */
enum { RECORDS = 20000, THREADS = 4 };
static struct exit_record *contended[RECORDS];
static _Atomic unsigned claimed, running;

static void *claim_all(void *unused) {
    running++;
    while (running < THREADS) {
    }
    for (unsigned i = 0; i < RECORDS; i++) {
        if (ia2_record_claim(contended[i])) {
            contended[i]->outer_sp = i;
            claimed++;
        }
    }
    return unused;
}

Test(records_sealed, of_several_threads_one_gets_it) {
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < RECORDS; i++) {
        contended[i] = make(0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, claim_all, NULL);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_expect_eq(claimed, RECORDS);
}

/* ---- runs of records that repeat --------------------------------------------------------------------------------------------------- */

Test(records_sealed, a_run_has_a_copy_that_knows_its_original) {
    struct exit_record *record = make(IA2_REPEATED | IA2_VAGUE);
    struct exit_record *copy = ia2_record_new();
    ia2_record_copy(copy, record);
    cr_expect_eq(ia2_record_original(copy), record);
    cr_expect_eq(ia2_record_original(record), record);
    cr_expect_eq(copy->function, record->function);
    cr_expect_eq(ia2_record_registrar(copy), ia2_record_registrar(record));
    cr_expect_eq(copy->owner, record->owner);
    cr_expect_eq(copy->also, record->also);
    cr_expect_eq(copy->kind, record->kind);
    cr_expect_eq(copy->flags, record->flags);
    cr_expect_eq(claim(copy), REFUSED, "a copy is run by who made it, and by nobody else");
    cr_expect_eq(claim(record), CLAIMED, "the original stays live");
    cr_expect_eq(claim(record), CLAIMED);
}

Test(records_sealed, a_copy_counts_as_a_run_and_not_as_a_registration) {
    struct exit_record *record = make(IA2_REPEATED);
    struct exit_record *copy = ia2_record_new();
    struct ia2_census census;
    ia2_record_copy(copy, record);
    ia2_record_census(&census);
    cr_expect_eq(census.registered, 1);
    cr_expect_eq(census.ran, 1, "it has not returned");
    cr_expect_eq(census.live, 1);
    cr_expect_eq(cut_off, 1);
    cr_expect_eq(runs, 0);
    ia2_record_return(copy);
    ia2_record_census(&census);
    cr_expect_eq(census.ran, 0, "who ran it has counted it");
    cr_expect_eq(atomic_load(&ia2_counters.registered), 0);
}
