#include "next.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

#include "dynamic.h"
#include "objects.h"
#include "symbols.h"

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* Sets what this object has of what is missing. Where the function is chosen at run time, dlsym has to ask. Returns false for an object
 * with the old kind of hash table alone: dlsym asks it, and those behind it. */
static bool resolve_in(const struct link_map *map, const struct ia2_next *table, size_t count, const uint32_t *hashes,
                       void *base, size_t *missing) {
    const struct ia2_object object = {.base = map->l_addr, .dynamic = map->l_ld};
    struct ia2_dynamic tables;
    ia2_dynamic_read(&object, &tables);
    for (size_t i = 0; i < count && tables.gnu_hash && tables.symbols && tables.strings; i++) {
        void **place = (void **)((char *)base + table[i].offset);
        const ElfW(Sym) *symbol = *place ? NULL : ia2_symbol_find_default(&tables, table[i].name, hashes[i]);
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
        hashes[i] = ia2_symbol_hash(table[i].name);
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
