#include "map_builder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "map.h"
#include "tamper.h"

/* ---- the texts of a map: "" and then each once, in the order of their bytes ---- */

enum { TEXT = 40, TEXTS = COMPARTMENTS + OBJECTS * (1 + DESTRUCTORS_EACH) };

struct texts {
    uint32_t count;
    char list[TEXTS][TEXT];
};

static int compare(const void *a, const void *b) { return strcmp(a, b); }

static void add_text(struct texts *texts, const char *format, uint32_t first, uint32_t second) {
    snprintf(texts->list[texts->count++], TEXT, format, first, second);
}

static void collect_texts(struct texts *texts, uint32_t objects, uint32_t destructors_each) {
    texts->count = 0;
    for (uint32_t i = 0; i < COMPARTMENTS; i++) {
        add_text(texts, "compartment_%u", i, 0);
    }
    for (uint32_t i = 0; i < objects; i++) {
        add_text(texts, "%c.so", 'a' + i, 0);
        for (uint32_t j = 0; j + 1 < destructors_each; j++) {
            add_text(texts, "destructor_%u_%u", i, j);
        }
    }
    qsort(texts->list, texts->count, TEXT, compare);
}

static void write_texts(struct map_file *file, const struct texts *texts) {
    file->header.strings_size = 1;
    for (uint32_t i = 0; i < texts->count; i++) {
        size_t length = strlen(texts->list[i]) + 1;
        cr_assert_lt(file->header.strings + file->header.strings_size + length, sizeof file->bytes);
        memcpy(map_strings(file) + file->header.strings_size, texts->list[i], length);
        file->header.strings_size += (uint32_t)length;
    }
}

static uint32_t text_at(struct map_file *file, const char *format, uint32_t first, uint32_t second) {
    char text[TEXT];
    snprintf(text, sizeof text, format, first, second);
    uint32_t at = 1;
    while (strcmp(map_strings(file) + at, text) != 0) {
        at += (uint32_t)strlen(map_strings(file) + at) + 1;
        cr_assert_lt(at, file->header.strings_size, "%s", text);
    }
    return at;
}

/* ---- the entries ---- */

uint64_t map_rva(uint32_t object, uint32_t destructor) { return 0x1000u + 0x100u * object + 0x10u * destructor; }

uint32_t map_kind(uint32_t object, uint32_t destructor) { return 1 + (object + destructor) % IA2_EXIT_PTHREAD_KEY; }

uint32_t map_build_id_size(uint32_t object) { return object < WITHOUT_BUILD_ID ? 0 : object % 2 ? 20 : 8; }

/* Ascending in `object`, of different lengths; all zeros and length 0 for those without. */
void map_build_id(uint8_t build_id[IA2_MAP_BUILD_ID], uint32_t object) {
    memset(build_id, 0, IA2_MAP_BUILD_ID);
    memset(build_id, (int)(object * 16), map_build_id_size(object));
}

static void fill_object(struct map_file *file, uint32_t i, uint32_t destructors_each) {
    struct ia2_map_object *object = map_object(file, i);
    map_build_id(object->build_id, i);
    object->build_id_size = map_build_id_size(i);
    object->name = text_at(file, "%c.so", 'a' + i, 0);
    object->compartment = 10 * (i % COMPARTMENTS);
    object->flags = i + 1 == file->header.object_count ? IA2_MAP_MAIN : 0;
    object->first_destructor = i * destructors_each;
    object->destructor_count = destructors_each;
    for (uint32_t j = 0; j < destructors_each; j++) {
        *map_destructor(file, i * destructors_each + j) = (struct ia2_map_destructor){
            .rva = map_rva(i, j),
            .kind = map_kind(i, j),
            .compartment = 10 * (j % COMPARTMENTS),
            .symbol = j + 1 < destructors_each ? text_at(file, "destructor_%u_%u", i, j) : 0,
        };
    }
}

void map_build_small(struct map_file *file, uint32_t objects, uint32_t destructors_each) {
    struct ia2_map_header *header = &file->header;
    struct texts texts;
    memset(file, 0, sizeof *file);
    memcpy(header->magic, IA2_MAP_MAGIC, sizeof header->magic);
    header->version = IA2_MAP_VERSION;
    header->header_size = sizeof *header;
    header->unlisted = IA2_MAP_EACH;
    header->compartment_count = COMPARTMENTS;
    header->object_count = objects;
    header->destructor_count = objects * destructors_each;
    header->compartments = sizeof *header;
    header->objects = header->compartments + COMPARTMENTS * sizeof(struct ia2_map_compartment);
    header->destructors = header->objects + objects * sizeof(struct ia2_map_object);
    header->strings = header->destructors + header->destructor_count * sizeof(struct ia2_map_destructor);
    collect_texts(&texts, objects, destructors_each);
    write_texts(file, &texts);
    for (uint32_t i = 0; i < COMPARTMENTS; i++) {
        *map_compartment(file, i) =
            (struct ia2_map_compartment){.id = 10 * i, .name = text_at(file, "compartment_%u", i, 0)};
    }
    for (uint32_t i = 0; i < objects; i++) {
        fill_object(file, i, destructors_each);
    }
    header->total_size = (header->strings + header->strings_size + 7) / 8 * 8;
    file->size = header->total_size;
    map_seal(file);
}

void map_build(struct map_file *file) { map_build_small(file, OBJECTS, DESTRUCTORS_EACH); }

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

/* ---- tampering ---- */

jmp_buf map_tampering;
bool map_expects_tampering;
const char *map_tampered_detail;

_Noreturn void ia2_tampered(const char *what, const char *detail) {
    map_tampered_detail = detail;
    if (map_expects_tampering) {
        longjmp(map_tampering, 1);
    }
    cr_log_error("tampering: %s: %s", what, detail);
    abort();
}
