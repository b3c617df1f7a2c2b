#include "map_builder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "map.h"

uint64_t map_rva(uint32_t object, uint32_t destructor) { return 0x1000u + 0x100u * object + 0x10u * destructor; }

/* Ascending in `object`, of different lengths; all zeros and length 0 for those without. */
void map_build_id(uint8_t build_id[IA2_MAP_BUILD_ID], uint32_t object) {
    memset(build_id, 0, IA2_MAP_BUILD_ID);
    if (object >= WITHOUT_BUILD_ID) {
        memset(build_id, (int)(object * 16), object % 2 ? 20 : 8);
    }
}

static uint32_t add_string(struct map_file *file, const char *text) {
    uint32_t at = file->header.strings_size;
    size_t length = strlen(text) + 1;
    cr_assert_lt(file->header.strings + at + length, sizeof file->bytes);
    memcpy(map_strings(file) + at, text, length);
    file->header.strings_size += (uint32_t)length;
    return at;
}

static void add_destructors(struct map_file *file, uint32_t object) {
    for (uint32_t j = 0; j < DESTRUCTORS_EACH; j++) {
        char symbol[32];
        snprintf(symbol, sizeof symbol, "destructor_%u_%u", object, j);
        *map_destructor(file, object * DESTRUCTORS_EACH + j) = (struct ia2_map_destructor){
            .rva = map_rva(object, j),
            .kind = 1 + (object + j) % IA2_EXIT_PTHREAD_KEY,
            .compartment = 10 * (j % COMPARTMENTS),
            .symbol = j + 1 < DESTRUCTORS_EACH ? add_string(file, symbol) : 0,
        };
    }
}

void map_build(struct map_file *file) {
    memset(file, 0, sizeof *file);
    struct ia2_map_header *header = &file->header;
    memcpy(header->magic, IA2_MAP_MAGIC, sizeof header->magic);
    header->version = IA2_MAP_VERSION;
    header->header_size = sizeof *header;
    header->unlisted = IA2_MAP_EACH;
    header->compartment_count = COMPARTMENTS;
    header->object_count = OBJECTS;
    header->destructor_count = OBJECTS * DESTRUCTORS_EACH;
    header->compartments = sizeof *header;
    header->objects = header->compartments + COMPARTMENTS * sizeof(struct ia2_map_compartment);
    header->destructors = header->objects + OBJECTS * sizeof(struct ia2_map_object);
    header->strings = header->destructors + OBJECTS * DESTRUCTORS_EACH * sizeof(struct ia2_map_destructor);
    header->strings_size = 1;
    for (uint32_t i = 0; i < COMPARTMENTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "compartment_%u", i);
        *map_compartment(file, i) = (struct ia2_map_compartment){.id = 10 * i, .name = add_string(file, name)};
    }
    for (uint32_t i = 0; i < OBJECTS; i++) {
        char name[] = {(char)('a' + i), '.', 's', 'o', '\0'};
        struct ia2_map_object *object = map_object(file, i);
        map_build_id(object->build_id, i);
        object->build_id_size = i < WITHOUT_BUILD_ID ? 0 : i % 2 ? 20 : 8;
        object->name = add_string(file, name);
        object->compartment = 10 * (i % COMPARTMENTS);
        object->flags = i == OBJECTS - 1 ? IA2_MAP_MAIN : 0;
        object->first_destructor = i * DESTRUCTORS_EACH;
        object->destructor_count = DESTRUCTORS_EACH;
        add_destructors(file, i);
    }
    header->total_size = (header->strings + header->strings_size + 7) / 8 * 8;
    file->size = header->total_size;
    map_seal(file);
}

struct ia2_map_compartment *map_compartment(struct map_file *file, uint32_t index) {
    return (struct ia2_map_compartment *)(void *)(file->bytes + file->header.compartments) + index;
}

struct ia2_map_object *map_object(struct map_file *file, uint32_t index) {
    return (struct ia2_map_object *)(void *)(file->bytes + file->header.objects) + index;
}

struct ia2_map_destructor *map_destructor(struct map_file *file, uint32_t index) {
    return (struct ia2_map_destructor *)(void *)(file->bytes + file->header.destructors) + index;
}

char *map_strings(struct map_file *file) { return (char *)file->bytes + file->header.strings; }

void map_seal(struct map_file *file) {
    file->header.checksum = 0;
    file->header.checksum = (uint32_t)crc32(0, file->bytes, (uInt)file->size);
}

const char *map_load(const void *bytes, size_t size) {
    char path[32];
    int fd = memfd_create("map", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const char *wrong = ia2_map_load(path);
    close(fd);
    return wrong;
}
