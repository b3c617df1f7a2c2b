/* Protection keys, and the gate in front of the runtime's own memory. Every function that the program can reach (hooks, stubs, the
 * public interface, signal handlers) opens the gate before it looks at anything but ia2_sealed, and closes it before it calls or
 * returns to anybody else's code. Without protection keys a gate is one comparison. */
#ifndef IA2_GATE_H
#define IA2_GATE_H

#include <stdatomic.h>
#include <stdint.h>

#include "sealed.h"

#define IA2_PKRU_OPEN 0u
#define IA2_PKRU_SHARED 0xfffffffcu /* everything closed but key 0 */
#define IA2_PKRU_INITIAL                                                                                               \
    0x55555554u /* what the kernel gives every process and every signal handler: only key 0 is open */
#define IA2_LAST_KEY 15u

static inline uint32_t ia2_key_bits(unsigned key) { return 3u << (2 * key); }

/* RDPKRU (Intel SDM volume 2). Only where there are protection keys. */
static inline uint32_t ia2_rdpkru(void) {
    uint32_t value;
    uint32_t zero;
    __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(value), "=d"(zero) : "c"(0));
    return value;
}

/* WRPKRU, for opening the runtime's memory besides what this thread has or a signal handler gets. Any other value, and a return to
 * anything but the runtime's text, ends the process. */
void ia2_pkru_open(uint32_t value);
/* WRPKRU, for closing; then the register is compared with what ia2_sealed.wanted_alias says for this thread slot, and the process
 * ends where they differ: a jump into the middle of it gains nothing. */
void ia2_pkru_close(uint32_t value, uint32_t slot);

/* WRPKRU of 0, in legacy mode; elsewhere it ends the process. */
void ia2_pkru_legacy(void);

uint32_t ia2_gate_open_now(void);
void ia2_gate_close_now(uint32_t before);

/* The compiler must not move accesses of the runtime's variables across a gate: it knows of some that no other function changes them. */
static inline void ia2_gate_barrier(void) { __asm__ volatile("" : : : "memory"); }

/* Opens the runtime's memory to this thread. Returns what ia2_gate_close() takes. */
static inline uint32_t ia2_gate_open(void) {
    uint32_t before = __builtin_expect(ia2_sealed.runtime_bits != 0, 0) ? ia2_gate_open_now() : 0;
    ia2_gate_barrier();
    return before;
}

static inline void ia2_gate_close(uint32_t before) {
    ia2_gate_barrier();
    if (__builtin_expect(ia2_sealed.runtime_bits != 0, 0)) {
        ia2_gate_close_now(before);
    }
}

extern _Atomic uint64_t ia2_handlers_opened; /* so often, at a WRPKRU each */

/* In a signal handler of ours: opens the runtime's memory. The kernel has closed all but key 0, and restores what was when the handler
 * returns. */
static inline void ia2_handler_open(void) {
    if (__builtin_expect(ia2_sealed.runtime_bits != 0, 0)) {
        ia2_pkru_open(IA2_PKRU_INITIAL & ~ia2_sealed.runtime_bits);
        atomic_fetch_add_explicit(&ia2_handlers_opened, 1, memory_order_relaxed);
    }
    ia2_gate_barrier();
}

#endif
