#include "siphash.h"

typedef uint64_t __attribute__((aligned(1), may_alias)) unaligned_word;

static void add(struct ia2_sip *sip, uint64_t word) {
    sip->v3 ^= word;
    ia2_sip_round(sip);
    ia2_sip_round(sip);
    sip->v0 ^= word;
}

uint64_t ia2_siphash(const uint64_t key[2], const void *bytes, size_t size) {
    struct ia2_sip sip = ia2_sip_start(key);
    const uint8_t *at = bytes;
    const uint8_t *const words_end = at + size / 8 * 8;
    for (; at != words_end; at += 8) {
        add(&sip, *(const unaligned_word *)at);
    }
    uint64_t last = (uint64_t)size << 56;
    for (size_t i = 0; i < size % 8; i++) {
        last |= (uint64_t)at[i] << (8 * i);
    }
    add(&sip, last);
    sip.v2 ^= 0xff;
    for (int i = 0; i < 4; i++) {
        ia2_sip_round(&sip);
    }
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}
