/* The key of the process: random, and still a secret where the kernel has no random numbers. */
#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "denial.h"

static uint64_t (*keys)[2]; /* shared with the children */

static void share(void) {
    keys = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)keys, MAP_FAILED);
}

TestSuite(secret, .init = share);

static void make(void *number) {
    ia2_secret_make();
    memcpy(keys[*(int *)number], ia2_secret, sizeof ia2_secret);
}

static void fall_back(void *number) { ia2_secret_fallback(keys[*(int *)number]); }

static void expect_different_keys(int count) {
    uint64_t given[2];
    memcpy(given, (const void *)getauxval(AT_RANDOM), sizeof given);
    for (int i = 0; i < 2 * count; i++) {
        const uint64_t word = keys[i / 2][i % 2];
        cr_expect_neq(word, 0);
        cr_expect(word != given[0] && word != given[1], "the stack canary is made from AT_RANDOM as it is");
        for (int j = 0; j < i; j++) {
            cr_expect_neq(word, keys[j / 2][j % 2], "words %d and %d", i, j);
        }
    }
}

/* Children of one process: the same addresses and the same AT_RANDOM. */
static void collect(const struct denial *denials, void (*body)(void *)) {
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(run_denied(denials, body, &i), 0);
    }
    expect_different_keys(8);
}

Test(secret, each_process_has_a_key_of_its_own) { collect((const struct denial[]){{0}}, make); }

Test(secret, a_kernel_without_getrandom_will_do) {
    collect((const struct denial[]){{SYS_getrandom, 0, ENOSYS, 0}, {0}}, make);
}

Test(secret, a_kernel_that_has_nothing_yet_is_not_waited_for) {
    collect((const struct denial[]){{SYS_getrandom, 0, EAGAIN, 0}, {0}}, make);
}

Test(secret, the_fallback_is_no_constant) { collect((const struct denial[]){{0}}, fall_back); }

Test(secret, the_key_of_records_comes_of_it) {
    uint64_t before[IA2_RECORD_WORDS];
    ia2_secret_make();
    memcpy(before, ia2_record_key, sizeof before);
    ia2_secret_make();
    for (unsigned i = 0; i < IA2_RECORD_WORDS; i++) {
        cr_expect_neq(ia2_record_key[i], before[i], "another secret: word %u", i);
        cr_expect(ia2_record_key[i] != ia2_secret[0] && ia2_record_key[i] != ia2_secret[1]);
        for (unsigned j = 0; j < i; j++) {
            cr_expect_neq(ia2_record_key[i], ia2_record_key[j], "words %u and %u", i, j);
        }
    }
}
