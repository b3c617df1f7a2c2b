/* The key of this process's message authentication codes. */
#ifndef IA2_SECRET_H
#define IA2_SECRET_H

#include <stdint.h>

/* Runtime-only memory (vault.h); read it only where that is open. */
extern uint64_t ia2_secret[2];

/* Draws the key. Only from the constructor, once, before the first code is made. */
void ia2_secret_make(void);

/* A key from what the kernel gave this process at start, for a kernel that gives no random numbers (yet). */
void ia2_secret_fallback(uint64_t key[2]);

#endif
