/* An exit map of the objects that are loaded, with made-up destructors. */
#ifndef LOOKUP_MAP_H
#define LOOKUP_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "ia2_exit.h"
#include "map_format.h"

enum { ENTRIES_EACH = 400, MOST_OBJECTS = 64 };

struct entry {
    uint64_t rva;
    uint32_t kind, compartment;
};

struct listed {
    uintptr_t base;
    uint64_t span; /* bytes from `base` to the end of the last segment */
    uint8_t build_id[IA2_MAP_BUILD_ID];
    uint32_t build_id_size;
    char name[32];
    struct entry entries[ENTRIES_EACH]; /* sorted by address, unique */
};

struct lookup_map {
    size_t count;
    struct listed objects[MOST_OBJECTS]; /* those with a build ID, sorted by it */
};

/* The next number of the sequence (splitmix64). */
uint64_t lookup_random(uint64_t *state);

/* The same objects and the same `*random` give the same map in each process, whatever the addresses. */
void lookup_map_of_loaded_objects(struct lookup_map *map, uint64_t *random);

/* Starts the program again, under that map and with that seed. Returns only when that fails: an exit status. */
int lookup_run_again(const struct lookup_map *map, const char *program, uint64_t seed);

#endif
