#include "symbols.h"

#include <stddef.h>

#include "system.h"

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

struct tables {
    const ElfW(Sym) *symbols;
    const char *strings;
    const uint32_t *gnu_hash; /* NULL where there is only the old one */
    const uint32_t *hash;
};

static struct tables tables_of(const struct ia2_object *object) {
    struct tables tables = {0};
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
        /* ld.so relocates these entries in place, except in the vdso. */
        uintptr_t at = entry->d_un.d_ptr < object->base ? entry->d_un.d_ptr + object->base : entry->d_un.d_ptr;
        if (entry->d_tag == DT_SYMTAB) {
            tables.symbols = (const void *)at;
        } else if (entry->d_tag == DT_STRTAB) {
            tables.strings = (const void *)at;
        } else if (entry->d_tag == DT_GNU_HASH) {
            tables.gnu_hash = (const void *)at;
        } else if (entry->d_tag == DT_HASH) {
            tables.hash = (const void *)at;
        }
    }
    return tables;
}

static uint32_t count_of(const struct tables *tables) {
    return tables->gnu_hash ? count_gnu(tables->gnu_hash) : tables->hash ? tables->hash[1] : 0;
}

bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva) {
    struct tables tables = tables_of(object);
    uint32_t count = tables.symbols ? count_of(&tables) : 0;
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

static bool names(const struct tables *tables, uint32_t index, const char *name) {
    const ElfW(Sym) *symbol = &tables->symbols[index];
    return symbol->st_shndx != SHN_UNDEF && ia2_equal(tables->strings + symbol->st_name, name);
}

/* Look-up in a GNU hash table: header, Bloom filter (skipped), buckets, chains whose last entry has the low bit set. */
static bool find_gnu(const struct tables *tables, const char *name) {
    const uint32_t *table = tables->gnu_hash;
    const uint32_t *bucket = table + 4 + table[2] * 2;
    const uint32_t *chain = bucket + table[0];
    uint32_t wanted = 5381;
    for (const char *at = name; *at; at++) {
        wanted = wanted * 33 + (unsigned char)*at;
    }
    uint32_t index = table[0] ? bucket[wanted % table[0]] : 0;
    if (index < table[1]) {
        return false; /* an empty bucket */
    }
    for (;; index++) {
        uint32_t entry = chain[index - table[1]];
        if ((entry | 1) == (wanted | 1) && names(tables, index, name)) {
            return true;
        }
        if (entry & 1) {
            return false;
        }
    }
}

bool ia2_symbol_is_defined(const struct ia2_object *object, const char *name) {
    struct tables tables = tables_of(object);
    if (!tables.symbols || !tables.strings) {
        return false;
    }
    if (tables.gnu_hash) {
        return find_gnu(&tables, name);
    }
    uint32_t count = count_of(&tables);
    for (uint32_t i = 0; i < count; i++) {
        if (names(&tables, i, name)) {
            return true;
        }
    }
    return false;
}
