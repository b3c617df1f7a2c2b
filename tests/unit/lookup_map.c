#include "lookup_map.h"

#include <elf.h>
#include <inttypes.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum { LIBRARIES = 8 }; /* compartments beside shared */

uint64_t lookup_random(uint64_t *state) {
    uint64_t bits = *state += 0x9e3779b97f4a7c15u;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
    return bits ^ bits >> 31;
}

/* ---- what is loaded ---- */

static void read_build_id(struct listed *object, const char *at, const char *end) {
    while (at + sizeof(ElfW(Nhdr)) <= end) {
        const ElfW(Nhdr) *note = (const void *)at;
        const char *content = at + sizeof *note + (note->n_namesz + 3) / 4 * 4;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(note + 1, "GNU", 4) == 0 &&
            note->n_descsz <= IA2_MAP_BUILD_ID) {
            object->build_id_size = note->n_descsz;
            memcpy(object->build_id, content, note->n_descsz);
        }
        at = content + (note->n_descsz + 3) / 4 * 4;
    }
}

static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    struct lookup_map *map = data;
    struct listed *object = &map->objects[map->count];
    (void)size;
    memset(object, 0, sizeof *object);
    object->base = info->dlpi_addr;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const char *start = (const char *)info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && segment->p_vaddr + segment->p_memsz > object->span) {
            object->span = segment->p_vaddr + segment->p_memsz;
        } else if (segment->p_type == PT_NOTE && segment->p_align == 4) {
            read_build_id(object, start, start + segment->p_filesz);
        }
    }
    map->count += object->build_id_size > 0 && map->count + 1 < MOST_OBJECTS;
    return 0;
}

static int compare_objects(const void *a, const void *b) {
    return memcmp(((const struct listed *)a)->build_id, ((const struct listed *)b)->build_id, IA2_MAP_BUILD_ID);
}

static int compare_entries(const void *a, const void *b) {
    const uint64_t first = ((const struct entry *)a)->rva;
    const uint64_t second = ((const struct entry *)b)->rva;
    return first < second ? -1 : first > second;
}

/* Anywhere in the object: between its segments, its first and its last byte, too. */
static void make_entries(struct listed *object, uint64_t *random) {
    object->entries[0].rva = 0;
    object->entries[1].rva = object->span - 1;
    for (size_t i = 2; i < ENTRIES_EACH; i++) {
        object->entries[i].rva = lookup_random(random) % object->span;
    }
    for (bool again = true; again;) {
        again = false;
        qsort(object->entries, ENTRIES_EACH, sizeof *object->entries, compare_entries);
        for (size_t i = 1; i < ENTRIES_EACH; i++) {
            if (object->entries[i].rva == object->entries[i - 1].rva) {
                object->entries[i].rva = lookup_random(random) % object->span;
                again = true;
            }
        }
    }
    for (size_t i = 0; i < ENTRIES_EACH; i++) {
        const uint64_t bits = lookup_random(random);
        object->entries[i].kind = 1 + bits % IA2_EXIT_PTHREAD_KEY;
        object->entries[i].compartment = (bits >> 32) % (LIBRARIES + 1);
    }
}

void lookup_map_of_loaded_objects(struct lookup_map *map, uint64_t *random) {
    map->count = 0;
    dl_iterate_phdr(visit, map);
    qsort(map->objects, map->count, sizeof *map->objects, compare_objects);
    for (size_t i = 0; i < map->count; i++) {
        snprintf(map->objects[i].name, sizeof map->objects[i].name, "object%02zu", i);
        make_entries(&map->objects[i], random);
    }
}

/* ---- the file ---- */

/* The strings are "", "compartment", "object00", "object01", … */
enum { COMPARTMENT_NAME = 1, FIRST_NAME = COMPARTMENT_NAME + sizeof "compartment", NAME = sizeof "object00" };

static void write_strings(FILE *file, const struct lookup_map *map) {
    fwrite("\0compartment", 1, FIRST_NAME, file);
    for (size_t i = 0; i < map->count; i++) {
        fwrite(map->objects[i].name, 1, NAME, file);
    }
    while (ftell(file) % 8 != 0) {
        fputc('\0', file);
    }
}

static void write_tables(FILE *file, const struct lookup_map *map) {
    for (uint32_t id = 0; id <= LIBRARIES; id++) {
        const struct ia2_map_compartment compartment = {.id = id, .name = COMPARTMENT_NAME};
        fwrite(&compartment, sizeof compartment, 1, file);
    }
    for (size_t i = 0; i < map->count; i++) {
        struct ia2_map_object object = {
            .build_id_size = map->objects[i].build_id_size,
            .name = (uint32_t)(FIRST_NAME + i * NAME),
            .compartment = (uint32_t)(i % (LIBRARIES + 1)),
            .first_destructor = (uint32_t)(i * ENTRIES_EACH),
            .destructor_count = ENTRIES_EACH,
        };
        memcpy(object.build_id, map->objects[i].build_id, sizeof object.build_id);
        fwrite(&object, sizeof object, 1, file);
    }
    for (size_t i = 0; i < map->count; i++) {
        for (size_t j = 0; j < ENTRIES_EACH; j++) {
            const struct entry *entry = &map->objects[i].entries[j];
            const struct ia2_map_destructor destructor = {
                .rva = entry->rva, .kind = entry->kind, .compartment = entry->compartment};
            fwrite(&destructor, sizeof destructor, 1, file);
        }
    }
}

static char *write_map(const struct lookup_map *map, size_t *size) {
    struct ia2_map_header header = {
        .magic = IA2_MAP_MAGIC,
        .version = IA2_MAP_VERSION,
        .header_size = sizeof header,
        .unlisted = IA2_MAP_EACH,
        .compartment_count = LIBRARIES + 1,
        .object_count = (uint32_t)map->count,
        .destructor_count = (uint32_t)map->count * ENTRIES_EACH,
        .strings_size = (uint32_t)(FIRST_NAME + map->count * NAME),
        .compartments = sizeof header,
    };
    char *bytes = NULL;
    FILE *file = open_memstream(&bytes, size);
    header.objects = header.compartments + header.compartment_count * sizeof(struct ia2_map_compartment);
    header.destructors = header.objects + header.object_count * sizeof(struct ia2_map_object);
    header.strings = header.destructors + header.destructor_count * sizeof(struct ia2_map_destructor);
    header.total_size = (header.strings + header.strings_size + 7) / 8 * 8;
    fwrite(&header, sizeof header, 1, file);
    write_tables(file, map);
    write_strings(file, map);
    fclose(file);
    header.checksum = (uint32_t)crc32(0, (const Bytef *)bytes, (uInt)*size);
    memcpy(bytes, &header, sizeof header);
    return bytes;
}

int lookup_run_again(const struct lookup_map *map, const char *program, uint64_t seed) {
    char path[32];
    char text[32];
    size_t size;
    char *bytes = write_map(map, &size);
    int fd = memfd_create("map", 0);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) {
        perror("map");
        return 1;
    }
    free(bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    snprintf(text, sizeof text, "0x%" PRIx64, seed);
    setenv("IA2_EXIT_MAP", path, 1);
    setenv("IA2_EXIT_MODE", "observe", 1);
    setenv("IA2_EXIT_BACKEND", "none", 1);
    execl("/proc/self/exe", program, text, (char *)NULL);
    perror(program);
    return 1;
}
