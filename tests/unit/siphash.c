/* The message authentication codes: the published test vectors, and that no bit of key or message goes unused. */
#include "siphash.h"

#include <criterion/criterion.h>
#include <string.h>

/* The key and the messages of all published vectors: 00 01 02 03 … */
static const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
static uint8_t message[128] __attribute__((aligned(8)));

static void count_up(void) {
    for (size_t i = 0; i < sizeof message; i++) {
        message[i] = (uint8_t)i;
    }
}

TestSuite(siphash, .init = count_up);

/* ---- the algorithm once more, a byte at a time, with any number of rounds (the paper, section 2) ---- */

static uint64_t rotated(uint64_t word, int by) { return word << by | word >> (64 - by); }

static void rounds(uint64_t v[4], int count) {
    while (count-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotated(v[1], 13) ^ v[0];
        v[3] = rotated(v[3], 16) ^ v[2];
        v[0] = rotated(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotated(v[1], 17) ^ v[2];
        v[3] = rotated(v[3], 21) ^ v[0];
        v[2] = rotated(v[2], 32);
    }
}

static uint64_t reference(int each, int last, const uint64_t k[2], const uint8_t *bytes, size_t size) {
    uint64_t v[4];
    memcpy(v, "uespemosmodnarodarenegylsetybdet",
           sizeof v); /* "somepseudorandomlygeneratedbytes", words turned round */
    for (int i = 0; i < 4; i++) {
        v[i] ^= k[i % 2];
    }
    for (size_t block = 0; block <= size / 8; block++) {
        uint64_t word = 0;
        for (size_t i = 0; i < 8 && 8 * block + i < size; i++) {
            word |= (uint64_t)bytes[8 * block + i] << (8 * i);
        }
        word |= block == size / 8 ? (uint64_t)size << 56 : 0;
        v[3] ^= word;
        rounds(v, each);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(v, last);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- vectors ---- */

/* vectors_sip64 of the authors' reference implementation (github.com/veorq/SipHash): messages of 0 to 63 bytes. */
static const uint64_t vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7,
    0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137, 0x93f5f5799a932462, 0x9e0082df0ba9e4b0,
    0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7, 0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee,
    0xa129ca6149be45e5, 0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8, 0xb8ad50c6f649af94,
    0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad, 0xde4daaaca71dc9a5, 0xa6a2506687956571,
    0xad87a3535c49ef28, 0x32d892fad841c342, 0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238,
    0x15e034d40fa197ae, 0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95, 0xf935451de4f21df2,
    0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb, 0xe612a3cb9ecba951, 0xc766e62cfcadaf96,
    0xee64435a9752fe72, 0xa192d576b245165a, 0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea,
    0x245731c13ca42499, 0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

Test(siphash, bytes_are_hashed_as_the_authors_do) {
    for (size_t size = 0; size < 64; size++) {
        cr_expect_eq(ia2_siphash(key, message, size), vectors[size], "%zu bytes", size);
        cr_expect_eq(reference(2, 4, key, message, size), vectors[size], "%zu bytes", size);
    }
}

Test(siphash, alignment_does_not_matter) {
    static uint8_t moved[sizeof message + 8] __attribute__((aligned(8)));
    for (size_t by = 1; by < 8; by++) {
        memcpy(moved + by, message, sizeof message);
        for (size_t size = 0; size <= sizeof message; size++) {
            cr_assert_eq(ia2_siphash(key, moved + by, size), reference(2, 4, key, message, size));
        }
    }
}

/* The first is what Rust's library tests SipHash-1-3 with (test_siphash_1_3); the others rest on `reference`, which has been held
 * against the authors' vectors above. */
Test(siphash, words_are_hashed_with_one_round_each) {
    const uint64_t *words = (const void *)message;
    cr_expect_eq(ia2_siphash_words(key, words, 0), 0xabac0158050fc4dcu);
    cr_expect_eq(ia2_siphash_words(key, words, 1), 0x369095118d299a8eu);
    for (unsigned count = 0; count <= sizeof message / 8; count++) {
        cr_expect_eq(ia2_siphash_words(key, words, count), reference(1, 3, key, message, 8 * count), "%u words", count);
    }
}

/* ---- every bit counts ---- */

Test(siphash, each_bit_of_the_message_and_of_the_key_changes_the_code) {
    uint64_t *words = (void *)message;
    uint64_t other[2] = {key[0], key[1]};
    const uint64_t of_words = ia2_siphash_words(key, words, 8);
    const uint64_t of_bytes = ia2_siphash(key, message, 63);
    for (unsigned bit = 0; bit < 63 * 8; bit++) {
        message[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_neq(ia2_siphash_words(key, words, 8), of_words, "bit %u", bit);
        cr_expect_neq(ia2_siphash(key, message, 63), of_bytes, "bit %u", bit);
        message[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 128; bit++) {
        other[bit / 64] ^= 1ul << bit % 64;
        cr_expect_neq(ia2_siphash_words(other, words, 8), of_words, "bit %u of the key", bit);
        cr_expect_neq(ia2_siphash(other, message, 63), of_bytes, "bit %u of the key", bit);
        other[bit / 64] ^= 1ul << bit % 64;
    }
}
