#include "next.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

#include "dynamic.h"
#include "objects.h"
#include "system.h"

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* In .gnu.version: a version that only those get who ask for it (LSB, "Symbol Version Table"). */
#define HIDDEN 0x8000u

static uint32_t hash_of(const char *name) {
    uint32_t hash = 5381;
    for (const char *at = name; *at; at++) {
        hash = hash * 33 + (unsigned char)*at;
    }
    return hash;
}

/* Is it certainly not in the table? Its Bloom filter: two bits of one word. */
static bool is_absent(const uint32_t *table, uint32_t hash) {
    const uint64_t *filter = (const void *)(table + 4);
    const uint64_t word = filter[hash / 64 & (table[2] - 1)];
    return !(word >> hash % 64 & word >> (hash >> table[3]) % 64 & 1);
}

static const ElfW(Sym) *find(const struct ia2_dynamic *tables, const char *name, uint32_t hash) {
    const uint32_t *table = tables->gnu_hash;
    if (table[0] == 0 || is_absent(table, hash)) {
        return NULL;
    }
    const uint32_t *bucket = table + 4 + table[2] * 2;
    const uint32_t *chain = bucket + table[0];
    uint32_t index = bucket[hash % table[0]];
    for (bool more = index >= table[1]; more; index++) {
        const uint32_t entry = chain[index - table[1]];
        const ElfW(Sym) *symbol = &tables->symbols[index];
        more = !(entry & 1); /* the low bit ends a chain */
        if ((entry | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            (!tables->versions || !(tables->versions[index] & HIDDEN)) &&
            ia2_equal(tables->strings + symbol->st_name, name)) {
            return symbol;
        }
    }
    return NULL;
}

/* Sets what this object has of what is missing. Where the function is chosen at run time, dlsym has to ask. Returns false for an object
 * with the old kind of hash table alone: dlsym asks it, and those behind it. */
static bool resolve_in(const struct link_map *map, const struct ia2_next *table, size_t count, const uint32_t *hashes,
                       void *base, size_t *missing) {
    const struct ia2_object object = {.base = map->l_addr, .dynamic = map->l_ld};
    struct ia2_dynamic tables;
    ia2_dynamic_read(&object, &tables);
    for (size_t i = 0; i < count && tables.gnu_hash && tables.symbols && tables.strings; i++) {
        void **place = (void **)((char *)base + table[i].offset);
        const ElfW(Sym) *symbol = *place ? NULL : find(&tables, table[i].name, hashes[i]);
        if (symbol) {
            *place = ELF64_ST_TYPE(symbol->st_info) == STT_FUNC ? (void *)(map->l_addr + symbol->st_value)
                                                                : dlsym(RTLD_NEXT, table[i].name);
            *missing -= *place != NULL;
        }
    }
    return tables.gnu_hash || !tables.hash;
}

void ia2_next_resolve(const struct ia2_next *table, size_t count, void *base) {
    uint32_t hashes[IA2_MOST_NEXT];
    size_t missing = count < IA2_MOST_NEXT ? count : IA2_MOST_NEXT;
    const struct link_map *map = _r_debug.r_map;
    for (size_t i = 0; i < missing; i++) {
        hashes[i] = hash_of(table[i].name);
    }
    while (map && map->l_ld != _DYNAMIC) {
        map = map->l_next;
    }
    map = map ? map->l_next : NULL;
    while (map && missing > 0 && resolve_in(map, table, count, hashes, base, &missing)) {
        map = map->l_next;
    }
    for (size_t i = 0; i < count && missing > 0; i++) {
        void **place = (void **)((char *)base + table[i].offset);
        if (!*place) {
            *place = dlsym(RTLD_NEXT, table[i].name);
        }
    }
}
