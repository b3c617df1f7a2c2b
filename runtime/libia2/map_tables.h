/* What the file of an exit map and its resident image have in common: the order of objects, and compartments by id. */
#ifndef IA2_MAP_TABLES_H
#define IA2_MAP_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "map_format.h"

/* Less than, equal to or greater than 0, as the object with this build ID or, where `size` is 0, with this name comes before
 * `object`, is it, or comes behind it. `name_of_object` is read only where neither has a build ID. */
int ia2_map_compare(const uint8_t *build_id, uint32_t size, const char *name, const struct ia2_map_object *object,
                    const char *name_of_object);

/* The compartment with this id, NULL where the table has none. */
const struct ia2_map_compartment *ia2_map_compartment(const struct ia2_map_compartment *table, uint32_t count,
                                                      uint32_t id);

/* Rounded up to the alignment of the tables. */
static inline uint64_t ia2_map_aligned(uint64_t size) { return (size + 7) & ~(uint64_t)7; }

#endif
