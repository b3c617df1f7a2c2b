#include "map_tables.h"

#include <stddef.h>

static int compare_text(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

int ia2_map_compare(const uint8_t *build_id, uint32_t size, const char *name, const struct ia2_map_object *object,
                    const char *name_of_object) {
    for (uint32_t i = 0; i < IA2_MAP_BUILD_ID; i++) {
        if (build_id[i] != object->build_id[i]) {
            return build_id[i] < object->build_id[i] ? -1 : 1;
        }
    }
    if (size != object->build_id_size) {
        return size < object->build_id_size ? -1 : 1;
    }
    return size == 0 ? compare_text(name, name_of_object) : 0;
}

const struct ia2_map_compartment *ia2_map_compartment(const struct ia2_map_compartment *table, uint32_t count,
                                                      uint32_t id) {
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table[middle].id == id) {
            return &table[middle];
        }
        if (table[middle].id > id) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
