#include "map_image.h"

#include <stdbool.h>
#include <stddef.h>

#include "map_tables.h"
#include "siphash.h"
#include "tamper.h"

struct object_codes {
    uint64_t entry, name;
};

/* Where the tables of an image are. */
struct tables {
    struct ia2_map_object *objects;
    struct ia2_destructor *destructors;
    struct object_codes *object_codes;
    uint64_t *destructor_codes;
    struct ia2_map_compartment *compartments;
    char *strings;
};

/* What a code is of: no entry can stand in the place of another, nor in another table. */
enum subject { HEADER = 1, OBJECT, DESTRUCTOR };

static struct tables tables_of(const struct ia2_map_image *image) {
    struct tables tables;
    tables.objects = (void *)(uintptr_t)(image + 1);
    tables.destructors = (void *)(tables.objects + image->object_count);
    tables.object_codes = (void *)(tables.destructors + image->destructor_count);
    tables.destructor_codes = (void *)(tables.object_codes + image->object_count);
    tables.compartments = (void *)(tables.destructor_codes + image->destructor_count);
    tables.strings = (void *)(tables.compartments + image->compartment_count);
    return tables;
}

static uint64_t pair(uint32_t high, uint32_t low) { return (uint64_t)high << 32 | low; }

static uint64_t code_of_header(const struct ia2_map_image *image, const uint64_t key[2]) {
    const uint64_t words[] = {
        (uint64_t)HEADER << 32,
        image->size,
        pair(image->compartment_count, image->unlisted),
        pair(image->destructor_count, image->object_count),
    };
    return ia2_siphash_words(key, words, sizeof words / sizeof *words);
}

/* A table is 8-aligned, its entries are whole words. */
typedef uint64_t __attribute__((may_alias)) word;

__attribute__((always_inline)) static inline uint64_t
code_of_entry(enum subject subject, uint32_t index, const void *entry, unsigned size, const uint64_t key[2]) {
    uint64_t words[8] = {pair(subject, index)};
#pragma GCC unroll 8
    for (unsigned i = 0; i < size / 8; i++) {
        words[1 + i] = ((const word *)entry)[i];
    }
    return ia2_siphash_words(key, words, 1 + size / 8);
}

static uint64_t code_of_object(const struct ia2_map_object *object, uint32_t index, const uint64_t key[2]) {
    _Static_assert(sizeof *object == 7 * 8, "fits, without padding");
    return code_of_entry(OBJECT, index, object, sizeof *object, key);
}

static uint64_t code_of_destructor(const struct ia2_destructor *entry, uint32_t index, const uint64_t key[2]) {
    _Static_assert(sizeof *entry == 4 * 8, "fits, without padding");
    return code_of_entry(DESTRUCTOR, index, entry, sizeof *entry, key);
}

/* The text at `offset` of the strings; the end of the image ends it, too. */
static uint64_t code_of_text(const struct ia2_map_image *image, const char *strings, uint32_t offset,
                             const uint64_t key[2]) {
    const char *const end = (const char *)image + image->size;
    size_t length = 0;
    while (strings + offset + length < end && strings[offset + length]) {
        length++;
    }
    return ia2_siphash(key, strings + offset, length);
}

static uint64_t code_of_image(const struct ia2_map_image *image, uint64_t size, const uint64_t key[2]) {
    return ia2_siphash(key, &image->header_code, size - offsetof(struct ia2_map_image, header_code));
}

/* ---- building ---- */

uint64_t ia2_map_image_size(const struct ia2_map_header *file) {
    const uint64_t object = sizeof(struct ia2_map_object) + sizeof(struct object_codes);
    const uint64_t destructor = sizeof(struct ia2_destructor) + sizeof(uint64_t);
    return sizeof(struct ia2_map_image) + file->object_count * object + file->destructor_count * destructor +
           file->compartment_count * sizeof(struct ia2_map_compartment) + ia2_map_aligned(file->strings_size);
}

static void copy_words(void *to, const void *from, uint64_t size) {
    for (uint64_t i = 0; i < size / 8; i++) {
        ((uint64_t *)to)[i] = ((const uint64_t *)from)[i];
    }
}

static void build_object(const struct ia2_map_image *image, const struct ia2_map_destructor *from, uint32_t index,
                         const uint64_t key[2]) {
    const struct tables to = tables_of(image);
    const struct ia2_map_object *object = &to.objects[index];
    to.object_codes[index].entry = code_of_object(object, index, key);
    to.object_codes[index].name = code_of_text(image, to.strings, object->name, key);
    for (uint32_t i = object->first_destructor; i < object->first_destructor + object->destructor_count; i++) {
        to.destructors[i] = (struct ia2_destructor){
            .rva = from[i].rva,
            .kind = from[i].kind,
            .compartment = from[i].compartment,
            .symbol = from[i].symbol ? to.strings + from[i].symbol : NULL,
            .object = to.strings + object->name,
        };
        to.destructor_codes[i] = code_of_destructor(&to.destructors[i], i, key);
    }
}

void ia2_map_image_build(struct ia2_map_image *image, const struct ia2_map_header *file, const uint64_t key[2]) {
    const char *start = (const char *)file;
    *image = (struct ia2_map_image){
        .size = ia2_map_image_size(file),
        .unlisted = file->unlisted,
        .compartment_count = file->compartment_count,
        .object_count = file->object_count,
        .destructor_count = file->destructor_count,
    };
    const struct tables to = tables_of(image);
    copy_words(to.objects, start + file->objects, file->object_count * sizeof *to.objects);
    copy_words(to.compartments, start + file->compartments, file->compartment_count * sizeof *to.compartments);
    copy_words(to.strings, start + file->strings, ia2_map_aligned(file->strings_size));
    for (uint32_t i = 0; i < file->object_count; i++) {
        build_object(image, (const void *)(start + file->destructors), i, key);
    }
    image->header_code = code_of_header(image, key);
    image->code = code_of_image(image, image->size, key);
}

/* ---- authenticating ---- */

static bool header_is_genuine(const struct ia2_map_image *image, const uint64_t key[2]) {
    return image->header_code == code_of_header(image, key);
}

static bool object_is_genuine(const struct tables *tables, uint32_t index, const uint64_t key[2]) {
    return tables->object_codes[index].entry == code_of_object(&tables->objects[index], index, key);
}

static bool name_is_genuine(const struct ia2_map_image *image, const struct tables *tables, uint32_t index,
                            const uint64_t key[2]) {
    return tables->object_codes[index].name == code_of_text(image, tables->strings, tables->objects[index].name, key);
}

static bool destructor_is_genuine(const struct tables *tables, uint32_t index, const uint64_t key[2]) {
    return tables->destructor_codes[index] == code_of_destructor(&tables->destructors[index], index, key);
}

const char *ia2_map_image_verify(const struct ia2_map_image *image, uint64_t size, const uint64_t key[2]) {
    if (size >= sizeof *image && image->size == size && image->code == code_of_image(image, size, key)) {
        return NULL;
    }
    if (size < sizeof *image || image->size != size || !header_is_genuine(image, key)) {
        return "the header";
    }
    const struct tables tables = tables_of(image);
    for (uint32_t i = 0; i < image->object_count; i++) {
        if (!object_is_genuine(&tables, i, key)) {
            return "the entry of an object";
        }
        if (!name_is_genuine(image, &tables, i, key)) {
            return "the name of an object";
        }
    }
    for (uint32_t i = 0; i < image->destructor_count; i++) {
        if (!destructor_is_genuine(&tables, i, key)) {
            return "the entry of a destructor";
        }
    }
    return "the compartments, the strings or the code of the whole";
}

_Noreturn static void changed(const char *detail) { ia2_tampered("the exit map has been changed in memory", detail); }

static struct tables genuine_tables(const struct ia2_map_image *image, const uint64_t key[2]) {
    if (!header_is_genuine(image, key)) {
        changed("the header");
    }
    return tables_of(image);
}

static void need_object(const struct tables *tables, uint32_t index, const uint64_t key[2]) {
    if (!object_is_genuine(tables, index, key)) {
        changed("the entry of an object");
    }
}

static void need_destructor(const struct tables *tables, uint32_t index, const uint64_t key[2]) {
    if (!destructor_is_genuine(tables, index, key)) {
        changed("the entry of a destructor");
    }
}

/* ---- look-ups ---- */

uint32_t ia2_map_image_unlisted(const struct ia2_map_image *image, const uint64_t key[2]) {
    genuine_tables(image, key);
    return image->unlisted;
}

uint32_t ia2_map_image_last_compartment(const struct ia2_map_image *image, const uint64_t key[2]) {
    const struct tables tables = genuine_tables(image, key);
    return tables.compartments[image->compartment_count - 1].id;
}

const char *ia2_map_image_compartment_name(const struct ia2_map_image *image, const uint64_t key[2], uint32_t id) {
    const struct tables tables = genuine_tables(image, key);
    const struct ia2_map_compartment *found = ia2_map_compartment(tables.compartments, image->compartment_count, id);
    return found ? tables.strings + found->name : NULL;
}

/* Every entry that the search compares with is authenticated first, so it cannot be led astray. */
const struct ia2_map_object *ia2_map_image_find(const struct ia2_map_image *image, const uint64_t key[2],
                                                const uint8_t *build_id, uint32_t size, const char *name) {
    const struct tables tables = genuine_tables(image, key);
    uint32_t low = 0;
    uint32_t high = image->object_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct ia2_map_object *object = &tables.objects[middle];
        need_object(&tables, middle, key);
        if (size == 0 && object->build_id_size == 0 && !name_is_genuine(image, &tables, middle, key)) {
            changed("the name of an object");
        }
        const int order = ia2_map_compare(build_id, size, name, object, tables.strings + object->name);
        if (order == 0) {
            return object;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* Index of an object that a caller keeps from an earlier look-up. */
static uint32_t index_of(const struct ia2_map_image *image, const struct tables *tables, const uint64_t key[2],
                         const struct ia2_map_object *object) {
    const uintptr_t offset = (uintptr_t)object - (uintptr_t)tables->objects;
    if (offset % sizeof *object != 0 || offset / sizeof *object >= image->object_count) {
        ia2_tampered("an object is said to be in the exit map, and is not", "a record of the runtime has been changed");
    }
    const uint32_t index = (uint32_t)(offset / sizeof *object);
    need_object(tables, index, key);
    return index;
}

/* The search itself trusts what it sees; then the entries on both sides of the place where it ended are authenticated. They are
 * neighbours (a code is of the index, too), and the table was sorted: what lies between them is not in it. */
const struct ia2_destructor *ia2_map_image_destructor(const struct ia2_map_image *image, const uint64_t key[2],
                                                      const struct ia2_map_object *object, uint64_t rva,
                                                      uint32_t kind) {
    const struct tables tables = genuine_tables(image, key);
    object = &tables.objects[index_of(image, &tables, key, object)];
    uint32_t low = object->first_destructor;
    const uint32_t first = low;
    const uint32_t end = low + object->destructor_count;
    uint32_t high = end;
    while (low < high) { /* the first entry that is not before (rva, kind) */
        const uint32_t middle = low + (high - low) / 2;
        const struct ia2_destructor *entry = &tables.destructors[middle];
        if (entry->rva < rva || (entry->rva == rva && entry->kind < kind)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < end) {
        need_destructor(&tables, low, key);
    }
    const struct ia2_destructor *found = &tables.destructors[low];
    if (low < end && found->rva == rva && (kind == 0 || found->kind == kind)) {
        return found;
    }
    if (low > first) {
        need_destructor(&tables, low - 1, key);
    }
    return NULL;
}
