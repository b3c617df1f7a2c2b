/* Reading numbers from memory that may be malformed: past its end everything is 0 and `bad` is set. */
#ifndef IA2_BYTES_H
#define IA2_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia2_bytes {
    const uint8_t *at, *end;
    bool bad;
};

/* A little-endian number of `size` bytes, at most 8. */
static inline uint64_t ia2_take(struct ia2_bytes *from, size_t size) {
    uint64_t value = 0;
    if (from->bad || (size_t)(from->end - from->at) < size) {
        from->bad = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)from->at[i] << (8 * i);
    }
    from->at += size;
    return value;
}

/* The same, two's complement. */
static inline int64_t ia2_take_signed(struct ia2_bytes *from, size_t size) {
    unsigned unused = (unsigned)(64 - 8 * size);
    return (int64_t)(ia2_take(from, size) << unused) >> unused;
}

/* LEB128 (DWARF 5, section 7.6); bits beyond 64 are dropped. */
static inline uint64_t ia2_take_leb(struct ia2_bytes *from, bool with_sign) {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = (uint8_t)ia2_take(from, 1);
        value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        shift += 7;
    } while (byte & 0x80);
    return with_sign && (byte & 0x40) && shift < 64 ? value | ~(uint64_t)0 << shift : value;
}

static inline uint64_t ia2_take_uleb(struct ia2_bytes *from) { return ia2_take_leb(from, false); }
static inline int64_t ia2_take_sleb(struct ia2_bytes *from) { return (int64_t)ia2_take_leb(from, true); }

/* Memory at an address that nobody vouches for, aligned or not: under ia2_guard_run(). Sanitizers look away. */
typedef uintptr_t __attribute__((aligned(1), may_alias)) ia2_unaligned;

__attribute__((no_sanitize("address", "undefined"))) static inline uintptr_t ia2_load(uintptr_t address) {
    return *(const ia2_unaligned *)address;
}

__attribute__((no_sanitize("address", "undefined"))) static inline uint8_t ia2_load_byte(uintptr_t address) {
    return *(const uint8_t *)address;
}

/* The next `size` bytes, for themselves. */
static inline struct ia2_bytes ia2_take_bytes(struct ia2_bytes *from, uint64_t size) {
    struct ia2_bytes part = *from;
    if (from->bad || (uint64_t)(from->end - from->at) < size) {
        from->bad = part.bad = true;
    } else {
        from->at = part.end = from->at + size;
    }
    return part;
}

#endif
