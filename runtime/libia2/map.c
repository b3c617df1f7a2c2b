#include "map.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "system.h"

static const struct ia2_map_header *header;
static const struct ia2_map_compartment *compartments;
static const struct ia2_map_object *objects;
static const struct ia2_map_destructor *destructors;
static const char *strings;
static struct ia2_destructor *metadata; /* one for each entry of `destructors`, in the same order */

/* CRC-32 of IEEE 802.3, reflected, four bits at a time. */
static uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, uint64_t size) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    for (uint64_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return crc;
}

/* CRC-32 of the file with its checksum field taken as zero. */
static uint32_t checksum_of(const struct ia2_map_header *file) {
    static const uint8_t zeros[sizeof file->checksum];
    const uint8_t *bytes = (const uint8_t *)file;
    const uint64_t at = offsetof(struct ia2_map_header, checksum);
    uint32_t crc = crc32_update(0xffffffffu, bytes, at);
    crc = crc32_update(crc, zeros, sizeof zeros);
    crc = crc32_update(crc, bytes + at + sizeof zeros, file->total_size - at - sizeof zeros);
    return ~crc;
}

static bool table_fits(const struct ia2_map_header *file, uint64_t offset, uint64_t count, uint64_t size) {
    return offset % 8 == 0 && offset >= sizeof *file && offset <= file->total_size &&
           count <= (file->total_size - offset) / size;
}

static int compare_bytes(const uint8_t *a, const uint8_t *b, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return 0;
}

static int compare_text(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

static int compare_key(const uint8_t *build_id, uint32_t size, const char *name, const struct ia2_map_object *object) {
    int order = compare_bytes(build_id, object->build_id, IA2_MAP_BUILD_ID);
    if (order == 0 && size != object->build_id_size) {
        order = size < object->build_id_size ? -1 : 1;
    }
    if (order == 0 && size == 0) {
        order = compare_text(name, strings + object->name);
    }
    return order;
}

static bool has_compartment(uint32_t id) { return ia2_map_compartment_name(id) != NULL; }

static const char *check_header(const struct ia2_map_header *file, uint64_t size) {
    if (size < sizeof *file || compare_bytes((const uint8_t *)file->magic, (const uint8_t *)IA2_MAP_MAGIC, 8) != 0) {
        return "not a binary exit map; write one with: ia2exit map --binary";
    }
    if (file->version != IA2_MAP_VERSION || file->header_size != sizeof *file) {
        return "exit map of another version; write it again with this version's: ia2exit map --binary";
    }
    if (file->total_size != size) {
        return "exit map is cut short or has something behind it";
    }
    if (checksum_of(file) != file->checksum) {
        return "exit map is damaged (checksum)";
    }
    if (!table_fits(file, file->compartments, file->compartment_count, sizeof *compartments) ||
        !table_fits(file, file->objects, file->object_count, sizeof *objects) ||
        !table_fits(file, file->destructors, file->destructor_count, sizeof *destructors) ||
        !table_fits(file, file->strings, file->strings_size, 1) || file->strings_size == 0) {
        return "exit map has a table outside the file";
    }
    return NULL;
}

static const char *check_compartments(void) {
    for (uint32_t i = 0; i < header->compartment_count; i++) {
        if (compartments[i].id > IA2_MAP_MAX_COMPARTMENT || compartments[i].name >= header->strings_size ||
            (i > 0 && compartments[i].id <= compartments[i - 1].id)) {
            return "exit map has a bad compartment table";
        }
    }
    if (header->compartment_count == 0 || compartments[0].id != 0) {
        return "exit map has no shared compartment";
    }
    if (header->unlisted != IA2_MAP_EACH && !has_compartment(header->unlisted)) {
        return "exit map gives unlisted objects to a compartment that it does not have";
    }
    return NULL;
}

static const char *check_objects(void) {
    uint32_t next = 0; /* destructors are grouped by object, without gaps */
    for (uint32_t i = 0; i < header->object_count; i++) {
        const struct ia2_map_object *object = &objects[i];
        if (object->name >= header->strings_size || object->build_id_size > IA2_MAP_BUILD_ID ||
            !has_compartment(object->compartment) || object->first_destructor != next ||
            object->destructor_count > header->destructor_count - next) {
            return "exit map has a bad object table";
        }
        if (i > 0 && compare_key(object->build_id, object->build_id_size, strings + object->name, object - 1) <= 0) {
            return "exit map has objects out of order";
        }
        next += object->destructor_count;
    }
    return next == header->destructor_count ? NULL : "exit map has destructors of no object";
}

static const char *check_destructors(void) {
    for (uint32_t i = 0; i < header->object_count; i++) {
        const struct ia2_map_destructor *list = destructors + objects[i].first_destructor;
        for (uint32_t j = 0; j < objects[i].destructor_count; j++) {
            if (list[j].kind < IA2_EXIT_FINI_ARRAY || list[j].kind > IA2_EXIT_PTHREAD_KEY ||
                !has_compartment(list[j].compartment) || list[j].symbol >= header->strings_size) {
                return "exit map has a bad destructor table";
            }
            if (j > 0 && (list[j].rva < list[j - 1].rva ||
                          (list[j].rva == list[j - 1].rva && list[j].kind <= list[j - 1].kind))) {
                return "exit map has destructors out of order";
            }
        }
    }
    return NULL;
}

static const char *check(const struct ia2_map_header *file, uint64_t size) {
    const char *wrong = check_header(file, size);
    if (wrong) {
        return wrong;
    }
    const char *start = (const char *)file;
    header = file;
    compartments = (const void *)(start + file->compartments);
    objects = (const void *)(start + file->objects);
    destructors = (const void *)(start + file->destructors);
    strings = start + file->strings;
    if (strings[0] || strings[file->strings_size - 1]) {
        return "exit map has a bad string table";
    }
    wrong = check_compartments();
    wrong = wrong ? wrong : check_objects();
    return wrong ? wrong : check_destructors();
}

static const char *build_metadata(void) {
    if (header->destructor_count == 0) {
        return NULL;
    }
    metadata = ia2_map_memory(header->destructor_count * sizeof *metadata);
    if (!metadata) {
        return "no memory for the exit map";
    }
    for (uint32_t i = 0; i < header->object_count; i++) {
        for (uint32_t j = 0; j < objects[i].destructor_count; j++) {
            uint32_t at = objects[i].first_destructor + j;
            const struct ia2_map_destructor *entry = &destructors[at];
            metadata[at] = (struct ia2_destructor){
                .rva = entry->rva,
                .kind = entry->kind,
                .compartment = entry->compartment,
                .symbol = entry->symbol ? strings + entry->symbol : NULL,
                .object = strings + objects[i].name,
            };
        }
    }
    return NULL;
}

const char *ia2_map_load(const char *path) {
    long fd = ia2_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return "exit map cannot be opened";
    }
    struct stat status;
    const char *wrong = NULL;
    long at = -1;
    if (ia2_syscall2(SYS_fstat, fd, (long)&status) != 0 || status.st_size <= 0 || status.st_size > (1l << 31)) {
        wrong = "exit map is empty or too large";
    } else {
        at = ia2_syscall(SYS_mmap, 0, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        wrong = at < 0 && at > -4096 ? "exit map cannot be mapped" : NULL;
    }
    ia2_syscall1(SYS_close, fd);
    if (!wrong) {
        wrong = check((const void *)at, (uint64_t)status.st_size);
        wrong = wrong ? wrong : build_metadata();
        if (wrong) {
            header = NULL;
            ia2_syscall2(SYS_munmap, at, status.st_size);
        }
    }
    return wrong;
}

bool ia2_map_loaded(void) { return header != NULL; }

uint32_t ia2_map_unlisted(void) { return header ? header->unlisted : IA2_MAP_EACH; }

const struct ia2_map_object *ia2_map_find(const uint8_t *build_id, uint32_t size, const char *name) {
    uint32_t low = 0;
    uint32_t high = header ? header->object_count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare_key(build_id, size, name, &objects[middle]);
        if (order == 0) {
            return &objects[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct ia2_destructor *ia2_map_destructor(const struct ia2_map_object *object, uint64_t rva, uint32_t kind) {
    uint32_t low = object->first_destructor;
    const uint32_t end = low + object->destructor_count;
    uint32_t high = end;
    while (low < high) { /* the first entry that is not before (rva, kind) */
        uint32_t middle = low + (high - low) / 2;
        const struct ia2_destructor *entry = &metadata[middle];
        if (entry->rva < rva || (entry->rva == rva && entry->kind < kind)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < end && metadata[low].rva == rva && (kind == 0 || metadata[low].kind == kind)) {
        return &metadata[low];
    }
    return NULL;
}

const char *ia2_map_compartment_name(uint32_t id) {
    uint32_t low = 0;
    uint32_t high = header ? header->compartment_count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compartments[middle].id == id) {
            return strings + compartments[middle].name;
        }
        if (compartments[middle].id > id) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

uint32_t ia2_map_last_compartment(void) { return header ? compartments[header->compartment_count - 1].id : 0; }
