/* The sum that records are sealed with. */
#include "nh.h"

#include <criterion/criterion.h>

enum { WORDS = 6 };
static uint64_t key[WORDS], words[WORDS];

static void fill(void) {
    uint64_t state =
        88172645463325252u; /* xorshift64 (Marsaglia, "Xorshift RNGs", 2003): the same words in every run */
    for (unsigned i = 0; i < 2 * WORDS; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *(i < WORDS ? &key[i] : &words[i - WORDS]) = state;
    }
}

TestSuite(nh, .init = fill);

/* By halves, as RFC 4418 multiplies: no type of 128 bits. */
static uint64_t reference(const uint64_t *keys, const uint64_t *message, unsigned count) {
    uint64_t low = 0, high = 0;
    for (unsigned i = 0; i < count; i += 2) {
        const uint64_t a = message[i] + keys[i], b = message[i + 1] + keys[i + 1];
        const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
        const uint64_t middle = (a0 * b0 >> 32) + (uint32_t)(a1 * b0) + a0 * b1; /* cannot overflow */
        const uint64_t product = (uint32_t)(a0 * b0) | middle << 32;
        low += product;
        high += a1 * b1 + (a1 * b0 >> 32) + (middle >> 32) + (low < product);
    }
    return low ^ high;
}

Test(nh, it_is_the_sum_of_the_products_of_pairs) {
    const uint64_t none[2] = {0, 0};
    cr_expect_eq(ia2_nh(none, (const uint64_t[]){3, 5}, 2), 15);
    cr_expect_eq(ia2_nh(none, (const uint64_t[]){1ul << 63, 6}, 2), 3, "the upper half is folded in");
    cr_expect_eq(ia2_nh((const uint64_t[]){UINT64_MAX, 1}, (const uint64_t[]){3, 5}, 2), 12, "keys are added");
    for (unsigned count = 0; count <= WORDS; count += 2) {
        cr_expect_eq(ia2_nh(key, words, count), reference(key, words, count), "%u words", count);
    }
}

Test(nh, each_bit_of_the_message_and_of_the_key_changes_it) {
    const uint64_t before = ia2_nh(key, words, WORDS);
    for (unsigned bit = 0; bit < 64 * WORDS; bit++) {
        words[bit / 64] ^= 1ul << bit % 64;
        cr_expect_neq(ia2_nh(key, words, WORDS), before, "bit %u", bit);
        words[bit / 64] ^= 1ul << bit % 64;
        key[bit / 64] ^= 1ul << bit % 64;
        cr_expect_neq(ia2_nh(key, words, WORDS), before, "bit %u of the key", bit);
        key[bit / 64] ^= 1ul << bit % 64;
    }
}

Test(nh, two_words_that_change_places_change_it) {
    const uint64_t before = ia2_nh(key, words, WORDS);
    for (unsigned a = 0; a < WORDS; a++) {
        for (unsigned b = 0; b < a; b++) {
            uint64_t word = words[a];
            words[a] = words[b];
            words[b] = word;
            cr_expect_neq(ia2_nh(key, words, WORDS), before, "words %u and %u", a, b);
            words[b] = words[a];
            words[a] = word;
        }
    }
}
