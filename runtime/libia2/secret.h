/* The keys of this process's message authentication codes. */
#ifndef IA2_SECRET_H
#define IA2_SECRET_H

#include <stdint.h>

/* Runtime-only memory (vault.h); read it only where that is open. */
extern uint64_t ia2_secret[2];
#define IA2_RECORD_WORDS 6
extern uint64_t ia2_record_key[IA2_RECORD_WORDS]; /* made of the other, for the codes of records (nh.h) */

/* Draws the keys. Only from the constructor, once, before the first code is made. */
void ia2_secret_make(void);

/* A key from what the kernel gave this process at start, for a kernel that gives no random numbers (yet). */
void ia2_secret_fallback(uint64_t key[2]);

#endif
