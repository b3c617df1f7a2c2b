/* The binary exit map in memory: checked as a whole when it is loaded, out of everyone's reach afterwards (map_image.h, map_seal.h). */
#ifndef IA2_MAP_H
#define IA2_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "ia2_exit.h"
#include "map_format.h"

/* Reads and checks the file at `path`. Returns NULL on success, else what is wrong with it (a static string), and then no map
 * is loaded. Only from the constructor, after ia2_secret_make(). */
const char *ia2_map_load(const char *path);

/* How well the map is protected (map_seal.h), or "no map". Any time. */
const char *ia2_map_protection(void);

/* Authenticates the whole map once more: before the exit phase. Returns NULL, or what was changed since it was loaded. */
const char *ia2_map_verify(void);

/* All below: any thread, any time, signal handlers; they answer "nothing" while no map is loaded. Where it is, the map and the key of its
 * codes are found through runtime-only memory (vault.h), which must be open; an answer that rests on something that was changed since
 * the map was loaded is not given: the process ends (tamper.h). */
bool ia2_map_loaded(void);
/* IA2_MAP_EACH, or the compartment of objects that the map does not list. */
uint32_t ia2_map_unlisted(void);
/* The object with this build ID or, where it has none (size 0), with this name; NULL when the map does not list it. */
const struct ia2_map_object *ia2_map_find(const uint8_t *build_id, uint32_t size, const char *name);
/* The destructor of `object` at `rva`, of kind `kind`, or of any kind where `kind` is 0; NULL when there is none. An `object` that is no
 * entry of the map is taken for tampering. */
const struct ia2_destructor *ia2_map_destructor(const struct ia2_map_object *object, uint64_t rva, uint32_t kind);
/* Name of a compartment, or NULL when the map does not have it. */
const char *ia2_map_compartment_name(uint32_t id);
/* Largest compartment id in the map, 0 without one. */
uint32_t ia2_map_last_compartment(void);

#endif
