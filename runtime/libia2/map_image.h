/* The exit map as it is resident in the process: the tables of the file with what ia2_destructor_lookup() returns prepared, and a
 * message authentication code (siphash.h) for each entry, for the header, and for all of it.
 *
 * No function here has state of its own; each answers from the image that it is given. The look-ups are O(log n), may be called at any
 * time from any thread and from signal handlers, and authenticate every entry that an answer rests on, "there is none" included: what
 * does not have its code ends the process (tamper.h). */
#ifndef IA2_MAP_IMAGE_H
#define IA2_MAP_IMAGE_H

#include <stdint.h>

#include "ia2_exit.h"
#include "map_format.h"

/* Behind the header follow, each 8-aligned: objects, destructors as struct ia2_destructor, two codes for each object (entry and name), one
 * for each destructor, compartments, strings. */
struct ia2_map_image {
    uint64_t code;        /* SipHash-2-4 of the whole image behind this field */
    uint64_t header_code; /* of the fields below */
    uint64_t size;        /* bytes of the whole image */
    uint32_t unlisted;
    uint32_t compartment_count;
    uint32_t object_count;
    uint32_t destructor_count;
};

/* Bytes of the image of a file that ia2_map_check() has found good. */
uint64_t ia2_map_image_size(const struct ia2_map_header *file);

/* Builds that image in the zeroed memory at `image`. Strings are referred to by address: that is where it must stay. */
void ia2_map_image_build(struct ia2_map_image *image, const struct ia2_map_header *file, const uint64_t key[2]);

/* Authenticates all of the `size` bytes. Returns NULL, or what was changed (a static string). */
const char *ia2_map_image_verify(const struct ia2_map_image *image, uint64_t size, const uint64_t key[2]);

/* The look-ups of map.h. */
uint32_t ia2_map_image_unlisted(const struct ia2_map_image *image, const uint64_t key[2]);
uint32_t ia2_map_image_last_compartment(const struct ia2_map_image *image, const uint64_t key[2]);
const char *ia2_map_image_compartment_name(const struct ia2_map_image *image, const uint64_t key[2], uint32_t id);
const struct ia2_map_object *ia2_map_image_find(const struct ia2_map_image *image, const uint64_t key[2],
                                                const uint8_t *build_id, uint32_t size, const char *name);
const struct ia2_destructor *ia2_map_image_destructor(const struct ia2_map_image *image, const uint64_t key[2],
                                                      const struct ia2_map_object *object, uint64_t rva, uint32_t kind);

#endif
