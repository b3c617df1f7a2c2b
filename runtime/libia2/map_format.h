/* The binary exit map: what `ia2exit map --binary` writes and the runtime maps.
 *
 * Little-endian, no pointers, every table 8-aligned and sorted, every offset counted in bytes from the start of
 * the file. src/ia2exit/exitmap/binary.py writes the same layout; a change here is a new IA2_MAP_VERSION there.
 */
#ifndef IA2_MAP_FORMAT_H
#define IA2_MAP_FORMAT_H

#include <stdint.h>

#define IA2_MAP_MAGIC "IA2EXIT" /* 8 bytes with the terminating NUL */
#define IA2_MAP_VERSION 1u
#define IA2_MAP_MAX_COMPARTMENT 4095u
#define IA2_MAP_BUILD_ID 32u    /* longer build IDs are cut, shorter ones padded with zeros */
#define IA2_MAP_EACH UINT32_MAX /* `unlisted`: every unlisted object gets a compartment of its own */

struct ia2_map_header {
    char magic[8];
    uint32_t version;
    uint32_t header_size; /* sizeof(struct ia2_map_header) */
    uint64_t total_size;  /* bytes, the whole file */
    uint32_t checksum;    /* CRC-32 (IEEE 802.3) of the whole file with this field zero */
    uint32_t unlisted;    /* IA2_MAP_EACH, or a compartment id */
    uint32_t compartment_count;
    uint32_t object_count;
    uint32_t destructor_count;
    uint32_t strings_size; /* bytes; every string ends in NUL, so does the table; string 0 is "" */
    uint64_t compartments; /* offset of struct ia2_map_compartment[], sorted by id, unique */
    uint64_t objects;      /* offset of struct ia2_map_object[], sorted by (build_id, length, name) */
    uint64_t destructors;  /* offset of struct ia2_map_destructor[], grouped by object, then
                                            sorted by (rva, kind), unique */
    uint64_t strings;
};

struct ia2_map_compartment {
    uint32_t id;   /* 0 (shared) is always the first */
    uint32_t name; /* offset in strings */
};

struct ia2_map_object {
    uint8_t build_id[IA2_MAP_BUILD_ID];
    uint32_t build_id_size;    /* 0: no build ID; then `name` is the key */
    uint32_t name;             /* soname, or the base name of a program */
    uint32_t compartment;      /* an id in the compartment table */
    uint32_t flags;            /* IA2_MAP_MAIN */
    uint32_t first_destructor; /* index in the destructor table */
    uint32_t destructor_count;
};

#define IA2_MAP_MAIN 1u /* the main program */

struct ia2_map_destructor {
    uint64_t rva;  /* bytes from the object's load base */
    uint32_t kind; /* enum ia2_exit_kind */
    uint32_t compartment;
    uint32_t symbol;   /* offset in strings, 0: unknown */
    uint32_t reserved; /* 0 */
};

_Static_assert(sizeof(struct ia2_map_header) == 80, "layout is fixed");
_Static_assert(sizeof(struct ia2_map_compartment) == 8, "layout is fixed");
_Static_assert(sizeof(struct ia2_map_object) == 56, "layout is fixed");
_Static_assert(sizeof(struct ia2_map_destructor) == 24, "layout is fixed");

#endif
