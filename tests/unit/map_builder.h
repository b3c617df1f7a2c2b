/* Binary exit maps for tests: one that is valid, which tests then bend. */
#ifndef MAP_BUILDER_H
#define MAP_BUILDER_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ia2_exit.h"
#include "map_format.h"

enum { COMPARTMENTS = 6, OBJECTS = 12, DESTRUCTORS_EACH = 5, WITHOUT_BUILD_ID = 3 };

/* A file of realistic size in memory. Change what you like, then map_seal() it. */
struct map_file {
    size_t size;
    union {
        unsigned char bytes[4096];
        struct ia2_map_header header;
    };
};

/* A valid map: compartments 0, 10, 20, …; of its objects the first WITHOUT_BUILD_ID have none and are named a.so, b.so, …;
 * the destructors of object i lie at map_rva(i, j), all but the last of each object have a symbol. */
void map_build(struct map_file *file);
/* The same with fewer objects, or fewer destructors in each. */
void map_build_small(struct map_file *file, uint32_t objects, uint32_t destructors_each);
uint64_t map_rva(uint32_t object, uint32_t destructor);
uint32_t map_kind(uint32_t object, uint32_t destructor);
void map_build_id(uint8_t build_id[IA2_MAP_BUILD_ID], uint32_t object);
uint32_t map_build_id_size(uint32_t object);

struct ia2_map_compartment *map_compartment(struct map_file *file, uint32_t index);
struct ia2_map_object *map_object(struct map_file *file, uint32_t index);
struct ia2_map_destructor *map_destructor(struct map_file *file, uint32_t index);
char *map_strings(struct map_file *file);

/* Makes the checksum right again. */
void map_seal(struct map_file *file);

/* ia2_map_load() of these bytes. */
const char *map_load(const void *bytes, size_t size);

/* What ia2_tampered() does in these tests: back to `map_tampering` where a test has said that it expects that, else the test fails. */
extern jmp_buf map_tampering;
extern bool map_expects_tampering;
extern const char *map_tampered_detail;

#endif
