#include "symbols.h"

#include <stddef.h>

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

bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva) {
    const ElfW(Sym) *symbols = NULL;
    uint32_t count = 0;
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
        uintptr_t at = entry->d_un.d_ptr < object->base ? entry->d_un.d_ptr + object->base : entry->d_un.d_ptr;
        if (entry->d_tag == DT_SYMTAB) {
            symbols = (const void *)at;
        } else if (entry->d_tag == DT_GNU_HASH) {
            count = count_gnu((const uint32_t *)at);
        } else if (entry->d_tag == DT_HASH && count == 0) {
            count = ((const uint32_t *)at)[1];
        }
    }
    for (uint32_t i = 0; symbols && i < count; i++) {
        unsigned binding = ELF64_ST_BIND(symbols[i].st_info);
        if ((binding == STB_WEAK || binding == STB_GNU_UNIQUE) && symbols[i].st_shndx != SHN_UNDEF &&
            rva >= symbols[i].st_value && rva - symbols[i].st_value < symbols[i].st_size) {
            return true;
        }
    }
    return false;
}
