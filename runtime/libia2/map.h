/* The binary exit map in memory: checked as a whole when it is loaded, read-only afterwards. */
#ifndef IA2_MAP_H
#define IA2_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "ia2_exit.h"
#include "map_format.h"

/* Maps and checks the file at `path`. Returns NULL on success, else what is wrong with it (a static string), and then no map
 * is loaded. Only from the constructor. */
const char *ia2_map_load(const char *path);

/* All below: any thread, any time, signal handlers; they answer "nothing" while no map is loaded. */
bool ia2_map_loaded(void);
/* IA2_MAP_EACH, or the compartment of objects that the map does not list. */
uint32_t ia2_map_unlisted(void);
/* The object with this build ID or, where it has none (size 0), with this name; NULL when the map does not list it. */
const struct ia2_map_object *ia2_map_find(const uint8_t *build_id, uint32_t size, const char *name);
/* The destructor of `object` at `rva`, of kind `kind`, or of any kind where `kind` is 0; NULL when there is none. */
const struct ia2_destructor *ia2_map_destructor(const struct ia2_map_object *object, uint64_t rva, uint32_t kind);
/* Name of a compartment, or NULL when the map does not have it. */
const char *ia2_map_compartment_name(uint32_t id);
/* Largest compartment id in the map, 0 without one. */
uint32_t ia2_map_last_compartment(void);

#endif
