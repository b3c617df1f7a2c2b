/* NH, the universal hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: fast and secure message authentication", 1999; RFC
 * 4418, section 5.2), on 64-bit words. Two different messages have the same sum under at most one of 2^64 keys, whatever they are, as
 * long as who makes them sees neither key nor sum. That is the theorem; that the two halves of the sum are folded into one word here
 * is not part of it. So this is a code for memory that such a one cannot read, at a multiplication for two words. */
#ifndef IA2_NH_H
#define IA2_NH_H

#include <stdint.h>

/* Of `count` words, an even number, with as many words of key. The two halves of the sum are folded into one word. */
__attribute__((always_inline)) static inline uint64_t ia2_nh(const uint64_t *key, const uint64_t *words,
                                                             unsigned count) {
    unsigned __int128 sum = 0;
#pragma GCC unroll 16
    for (unsigned i = 0; i < count; i += 2) {
        sum += (unsigned __int128)(words[i] + key[i]) * (words[i + 1] + key[i + 1]);
    }
    return (uint64_t)sum ^ (uint64_t)(sum >> 64);
}

#endif
