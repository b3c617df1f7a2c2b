/* SipHash (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012): a keyed hash as a message authentication code. Who does
 * not know the key can neither make the code of changed data nor tell which change leaves it as it was. */
#ifndef IA2_SIPHASH_H
#define IA2_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct ia2_sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t ia2_sip_rotate(uint64_t word, unsigned by) { return word << by | word >> (64 - by); }

__attribute__((always_inline)) static inline void ia2_sip_round(struct ia2_sip *sip) {
    sip->v0 += sip->v1;
    sip->v1 = ia2_sip_rotate(sip->v1, 13) ^ sip->v0;
    sip->v0 = ia2_sip_rotate(sip->v0, 32);
    sip->v2 += sip->v3;
    sip->v3 = ia2_sip_rotate(sip->v3, 16) ^ sip->v2;
    sip->v0 += sip->v3;
    sip->v3 = ia2_sip_rotate(sip->v3, 21) ^ sip->v0;
    sip->v2 += sip->v1;
    sip->v1 = ia2_sip_rotate(sip->v1, 17) ^ sip->v2;
    sip->v2 = ia2_sip_rotate(sip->v2, 32);
}

__attribute__((always_inline)) static inline struct ia2_sip ia2_sip_start(const uint64_t key[2]) {
    return (struct ia2_sip){
        .v0 = key[0] ^ 0x736f6d6570736575u,
        .v1 = key[1] ^ 0x646f72616e646f6du,
        .v2 = key[0] ^ 0x6c7967656e657261u,
        .v3 = key[1] ^ 0x7465646279746573u,
    };
}

/* SipHash-1-3 of `count` 64-bit words, which is that of their 8 * count bytes (little-endian): one round a word and three at the end,
 * what Rust and CPython use for their hash tables. For the few words of one entry on a hot path; with a constant count and words
 * that are in registers it stores nothing to memory. */
__attribute__((always_inline)) static inline uint64_t ia2_siphash_words(const uint64_t key[2], const uint64_t *words,
                                                                        unsigned count) {
    struct ia2_sip sip = ia2_sip_start(key);
#pragma GCC unroll 16
    for (unsigned i = 0; i < count; i++) {
        sip.v3 ^= words[i];
        ia2_sip_round(&sip);
        sip.v0 ^= words[i];
    }
    const uint64_t last = (uint64_t)count << 59; /* the length in bytes, modulo 256, in the topmost byte */
    sip.v3 ^= last;
    ia2_sip_round(&sip);
    sip.v0 ^= last;
    sip.v2 ^= 0xff;
    ia2_sip_round(&sip);
    ia2_sip_round(&sip);
    ia2_sip_round(&sip);
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

/* SipHash-2-4 of `size` bytes at any alignment. */
uint64_t ia2_siphash(const uint64_t key[2], const void *bytes, size_t size);

#endif
