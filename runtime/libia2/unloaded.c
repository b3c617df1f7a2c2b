#include "unloaded.h"

#include <stdatomic.h>
#include <stddef.h>

#include "system.h"

#define KEPT 64

/* Read without a lock while it changes: `name` always ends, its last byte being 0 for ever, and a place is void while `end` is 0. */
static struct {
    _Atomic uintptr_t start, end;
    char name[48];
} places[KEPT];
static _Atomic uint32_t added;

void ia2_unloaded_add(uintptr_t start, uintptr_t end, const char *path) {
    uint32_t number = atomic_load_explicit(&added, memory_order_relaxed);
    atomic_store(&places[number % KEPT].end, 0);
    ia2_copy(places[number % KEPT].name, sizeof places->name, ia2_base_name(path));
    atomic_store(&places[number % KEPT].start, start);
    atomic_store(&places[number % KEPT].end, end);
    atomic_store(&added, number + 1);
}

const char *ia2_unloaded_at(uintptr_t address) {
    uint32_t count = atomic_load(&added);
    for (uint32_t back = 1; back <= KEPT && back <= count; back++) {
        uint32_t place = (count - back) % KEPT;
        if (address < atomic_load(&places[place].end) && address >= atomic_load(&places[place].start)) {
            return places[place].name;
        }
    }
    return NULL;
}
