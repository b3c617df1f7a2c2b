#include "records.h"

#include <stddef.h>

#include "system.h"

/* Chunk k holds FIRST << k records: the table doubles without moving, and an index finds its chunk with one bit scan. */
#define FIRST 1024u
#define CHUNKS 15u /* 33 million records */

static struct exit_record first_chunk[FIRST];
static struct exit_record *_Atomic chunks[CHUNKS] = {first_chunk};
static _Atomic uint32_t used;        /* slots handed out at least once */
static _Atomic uint64_t free_list;   /* tag << 32 | index + 1: the tag makes the compare-and-swap safe against ABA */

static uint32_t chunk_of(uint32_t index) { return 31u - (uint32_t)__builtin_clz(index / FIRST + 1u); }
static uint32_t chunk_start(uint32_t chunk) { return FIRST * ((1u << chunk) - 1u); }
static uint32_t chunk_size(uint32_t chunk) { return FIRST << chunk; }

static struct exit_record *slot_at(uint32_t index) {
    uint32_t chunk = chunk_of(index);
    if (chunk >= CHUNKS) {
        return NULL;
    }
    struct exit_record *start = atomic_load_explicit(&chunks[chunk], memory_order_acquire);
    return start ? start + (index - chunk_start(chunk)) : NULL;
}

/* Makes sure that the chunk of `index` exists. */
static bool grow(uint32_t index) {
    uint32_t chunk = chunk_of(index);
    if (chunk >= CHUNKS) {
        return false;
    }
    if (atomic_load_explicit(&chunks[chunk], memory_order_acquire)) {
        return true;
    }
    size_t size = chunk_size(chunk) * sizeof(struct exit_record);
    struct exit_record *fresh = ia2_map_memory(size);
    if (!fresh) {
        return false;
    }
    struct exit_record *none = NULL;
    if (!atomic_compare_exchange_strong(&chunks[chunk], &none, fresh)) {
        ia2_syscall2(SYS_munmap, (long)fresh, (long)size); /* another thread was faster */
    }
    return true;
}

static struct exit_record *pop_free(void) {
    uint64_t head = atomic_load_explicit(&free_list, memory_order_acquire);
    while ((uint32_t)head != 0) {
        struct exit_record *record = slot_at((uint32_t)head - 1u);
        uint64_t next = ((head >> 32) + 1) << 32 | atomic_load_explicit(&record->next, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&free_list, &head, next)) {
            return record;
        }
    }
    return NULL;
}

struct exit_record *ia2_record_new(void) {
    struct exit_record *record = pop_free();
    if (!record) {
        uint32_t index = atomic_load_explicit(&used, memory_order_relaxed);
        do {
            if (!grow(index)) {
                return NULL;
            }
        } while (!atomic_compare_exchange_weak(&used, &index, index + 1));
        record = slot_at(index);
        record->index = index;
    }
    atomic_store_explicit(&record->next, 0, memory_order_relaxed);
    return record;
}

ia2_record_number ia2_record_publish(struct exit_record *record) {
    uint32_t generation = atomic_load_explicit(&record->generation, memory_order_relaxed);
    atomic_store_explicit(&record->state, IA2_LIVE, memory_order_release);
    return (uint64_t)generation << 32 | (record->index + 1u);
}

void ia2_record_free(struct exit_record *record) {
    atomic_store_explicit(&record->state, IA2_FREE, memory_order_relaxed);
    atomic_fetch_add_explicit(&record->generation, 1, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&free_list, memory_order_relaxed);
    uint64_t fresh;
    do {
        atomic_store_explicit(&record->next, (uint32_t)head, memory_order_relaxed);
        fresh = ((head >> 32) + 1) << 32 | (record->index + 1u);
    } while (!atomic_compare_exchange_weak_explicit(&free_list, &head, fresh, memory_order_release,
                                                    memory_order_relaxed));
}

struct exit_record *ia2_record_find(ia2_record_number number) {
    uint32_t index = (uint32_t)number - 1u; /* 0 wraps round to a number that is out of bounds */
    struct exit_record *record = ia2_record_at(index);
    if (!record || atomic_load_explicit(&record->generation, memory_order_relaxed) != (uint32_t)(number >> 32)) {
        return NULL;
    }
    return record;
}

bool ia2_record_claim(struct exit_record *record) {
    if (record->flags & IA2_REPEATED) {
        return atomic_load_explicit(&record->state, memory_order_acquire) == IA2_LIVE;
    }
    uint8_t live = IA2_LIVE;
    return atomic_compare_exchange_strong_explicit(&record->state, &live, IA2_RUNNING, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

uint32_t ia2_record_index(const struct exit_record *record) {
    uintptr_t address = (uintptr_t)record;
    uint32_t slots = ia2_record_slots();
    for (uint32_t chunk = slots ? chunk_of(slots - 1u) + 1u : 0; chunk-- > 0;) { /* the largest chunks hold the most */
        uintptr_t start = (uintptr_t)atomic_load_explicit(&chunks[chunk], memory_order_acquire);
        uintptr_t offset = address - start;
        if (start && address >= start && offset < chunk_size(chunk) * sizeof *record) {
            return offset % sizeof *record ? UINT32_MAX : chunk_start(chunk) + (uint32_t)(offset / sizeof *record);
        }
    }
    return UINT32_MAX;
}

struct exit_record *ia2_record_at(uint32_t index) {
    return index < ia2_record_slots() ? slot_at(index) : NULL;
}

uint32_t ia2_record_slots(void) { return atomic_load_explicit(&used, memory_order_acquire); }
