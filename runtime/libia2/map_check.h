/* Is this the file of an exit map, whole, and as `ia2exit map --binary` writes it? The same maps are refused by
 * src/ia2exit/exitmap/binary.py: a map has one encoding, and whatever is not that has been damaged or made by hand. */
#ifndef IA2_MAP_CHECK_H
#define IA2_MAP_CHECK_H

#include <stdint.h>

#include "map_format.h"

/* All that can be told from the first bytes: `available` of them at `header`, of a file of `size` bytes. NULL, or what is wrong. */
const char *ia2_map_check_header(const struct ia2_map_header *header, uint64_t available, uint64_t size);

/* Checks the `size` bytes at `file` (8-aligned). `scratch` is zeroed memory, one bit for each byte of the file, and is used up. Returns
 * NULL, or what is wrong (a static string). Touches nothing else. */
const char *ia2_map_check(const void *file, uint64_t size, uint8_t *scratch);

#endif
