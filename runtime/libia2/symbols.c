#include "symbols.h"

#include <stddef.h>

#include "objects.h"
#include "system.h"

/* In .gnu.version: a version that only those get who ask for it (LSB, "Symbol Version Table"). */
#define HIDDEN 0x8000u

/* Number of dynamic symbols: the highest index that the GNU hash table reaches (it has no count of its own). */
static uint32_t count_gnu(const uint32_t *table) {
    uint32_t buckets = table[0];
    uint32_t first = table[1];
    uint32_t bloom_words = table[2];
    const uint32_t *bucket = table + 4 + bloom_words * 2; /* 64-bit words */
    const uint32_t *chain = bucket + buckets;
    uint32_t last = 0;
    for (uint32_t i = 0; i < buckets; i++) {
        last = bucket[i] > last ? bucket[i] : last;
    }
    if (last < first) {
        return first; /* no symbol is hashed */
    }
    while (!(chain[last - first] & 1)) { /* the low bit ends a chain */
        last++;
    }
    return last + 1;
}

uint32_t ia2_symbol_count(const struct ia2_dynamic *tables) {
    return !tables->symbols ? 0 : tables->gnu_hash ? count_gnu(tables->gnu_hash) : tables->hash ? tables->hash[1] : 0;
}

bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva) {
    struct ia2_dynamic tables;
    ia2_dynamic_read(object, &tables);
    uint32_t count = ia2_symbol_count(&tables);
    for (uint32_t i = 0; i < count; i++) {
        const ElfW(Sym) *symbol = &tables.symbols[i];
        unsigned binding = ELF64_ST_BIND(symbol->st_info);
        if ((binding == STB_WEAK || binding == STB_GNU_UNIQUE) && symbol->st_shndx != SHN_UNDEF &&
            rva >= symbol->st_value && rva - symbol->st_value < symbol->st_size) {
            return true;
        }
    }
    return false;
}

static bool names(const struct ia2_dynamic *tables, uint32_t index, const char *name) {
    const ElfW(Sym) *symbol = &tables->symbols[index];
    return symbol->st_shndx != SHN_UNDEF && ia2_equal(tables->strings + symbol->st_name, name);
}

uint32_t ia2_symbol_hash(const char *name) {
    uint32_t hash = 5381;
    for (const char *at = name; *at; at++) {
        hash = hash * 33 + (unsigned char)*at;
    }
    return hash;
}

/* Look-up in a GNU hash table: header, Bloom filter (skipped), buckets, chains whose last entry has the low bit set. */
static const ElfW(Sym) *find_gnu(const struct ia2_dynamic *tables, const char *name, uint32_t hash, bool any_version) {
    const uint32_t *table = tables->gnu_hash;
    const uint32_t *bucket = table + 4 + table[2] * 2;
    const uint32_t *chain = bucket + table[0];
    uint32_t index = table[0] ? bucket[hash % table[0]] : 0;
    if (index < table[1]) {
        return NULL; /* an empty bucket */
    }
    for (;; index++) {
        const uint32_t entry = chain[index - table[1]];
        const bool wanted = any_version || !tables->versions || !(tables->versions[index] & HIDDEN);
        if ((entry | 1) == (hash | 1) && wanted && names(tables, index, name)) {
            return &tables->symbols[index];
        }
        if (entry & 1) {
            return NULL;
        }
    }
}

/* Is it certainly not in the table? Its Bloom filter: two bits of one word. */
static bool is_absent(const uint32_t *table, uint32_t hash) {
    const uint64_t *filter = (const void *)(table + 4);
    const uint64_t word = filter[hash / 64 & (table[2] - 1)];
    return !(word >> hash % 64 & word >> (hash >> table[3]) % 64 & 1);
}

const ElfW(Sym) *ia2_symbol_find_default(const struct ia2_dynamic *tables, const char *name, uint32_t hash) {
    const uint32_t *table = tables->gnu_hash;
    return table[0] == 0 || is_absent(table, hash) ? NULL : find_gnu(tables, name, hash, false);
}

const ElfW(Sym) *ia2_symbol_find(const struct ia2_dynamic *tables, const char *name) {
    if (!tables->symbols || !tables->strings) {
        return NULL;
    }
    if (tables->gnu_hash) {
        return find_gnu(tables, name, ia2_symbol_hash(name), true);
    }
    uint32_t count = ia2_symbol_count(tables);
    for (uint32_t i = 0; i < count; i++) {
        if (names(tables, i, name)) {
            return &tables->symbols[i];
        }
    }
    return NULL;
}

bool ia2_data_is_mentioned(const struct ia2_dynamic *tables, const char *name) {
    if (!tables->symbols || !tables->strings) {
        return false;
    }
    /* Not the table of symbols: GNU hash tables do not count the undefined ones, and an object that exports nothing has no others. */
    for (size_t i = tables->relative_count; i < tables->relocation_count; i++) {
        const ElfW(Sym) *symbol = &tables->symbols[ELF64_R_SYM(tables->relocations[i].r_info)];
        if (ia2_equal(tables->strings + symbol->st_name, name)) {
            return true;
        }
    }
    return ia2_symbol_find(tables, name);
}
