#include "map_check.h"

#include <stdbool.h>
#include <stddef.h>

#include "ia2_exit.h"
#include "map_tables.h"

/* A file under examination. `starts` has a bit for each byte of the strings: an entry refers to the string that begins there. */
struct check {
    const struct ia2_map_header *header;
    const struct ia2_map_compartment *compartments;
    const struct ia2_map_object *objects;
    const struct ia2_map_destructor *destructors;
    const char *strings;
    uint8_t *starts;
};

/* CRC-32 of IEEE 802.3, reflected. table[k][n]: what the half-byte n leaves after k more half-bytes: those of eight bytes are looked
 * up independently of one another. The tables take a microsecond to make, which is less than reading them from the disk. */
static void crc32_tables(uint32_t table[16][16]) {
    for (uint32_t n = 0; n < 16; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 4; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
        }
        table[0][n] = crc;
    }
    for (int k = 1; k < 16; k++) {
        for (uint32_t n = 0; n < 16; n++) {
            table[k][n] = (table[k - 1][n] >> 4) ^ table[0][table[k - 1][n] & 15];
        }
    }
}

/* What eight half-bytes leave; the lowest comes first. */
__attribute__((always_inline)) static inline uint32_t crc32_half(const uint32_t table[8][16], uint32_t bits) {
    uint32_t even = 0;
    uint32_t odd = 0;
#pragma GCC unroll 4
    for (int k = 7; k > 0; k -= 2) {
        even ^= table[k][bits & 15];
        odd ^= table[k - 1][bits >> 4 & 15];
        bits >>= 8;
    }
    return even ^ odd;
}

static uint32_t crc32_words(const uint32_t table[16][16], uint32_t crc, const uint64_t *words, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        crc = crc32_half(table + 8, (uint32_t)words[i] ^ crc) ^ crc32_half(table, (uint32_t)(words[i] >> 32));
    }
    return crc;
}

/* CRC-32 of the file with its checksum field taken as zero. */
static uint32_t checksum_of(const struct ia2_map_header *file) {
    _Static_assert(offsetof(struct ia2_map_header, checksum) % 8 == 0, "the checksum begins a word");
    const uint64_t at = offsetof(struct ia2_map_header, checksum) / 8;
    const uint64_t *words = (const void *)file;
    const uint64_t without = words[at] >> 32 << 32;
    uint32_t table[16][16];
    crc32_tables(table);
    uint32_t crc = crc32_words(table, 0xffffffffu, words, at);
    crc = crc32_words(table, crc, &without, 1);
    return ~crc32_words(table, crc, words + at + 1, file->total_size / 8 - at - 1);
}

const char *ia2_map_check_header(const struct ia2_map_header *header, uint64_t available, uint64_t size) {
    if (available < sizeof *header) {
        return "not a binary exit map; write one with: ia2exit map --binary";
    }
    for (size_t i = 0; i < sizeof header->magic; i++) {
        if (header->magic[i] != IA2_MAP_MAGIC[i]) {
            return "not a binary exit map; write one with: ia2exit map --binary";
        }
    }
    if (header->version != IA2_MAP_VERSION || header->header_size != sizeof *header) {
        return "exit map of another version; write it again with this version's: ia2exit map --binary";
    }
    return header->total_size == size ? NULL : "exit map is cut short or has something behind it";
}

/* The tables follow one another in this order, with no more than alignment between them. */
static bool tables_in_place(const struct ia2_map_header *header) {
    const uint64_t tables[][2] = {
        {header->compartments, header->compartment_count * sizeof(struct ia2_map_compartment)},
        {header->objects, header->object_count * sizeof(struct ia2_map_object)},
        {header->destructors, header->destructor_count * sizeof(struct ia2_map_destructor)},
        {header->strings, header->strings_size},
    };
    uint64_t at = sizeof *header;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (tables[i][0] != at) {
            return false;
        }
        at = ia2_map_aligned(at + tables[i][1]);
    }
    return at == header->total_size && header->strings_size > 0;
}

/* Takes note that an entry refers to the string at `offset`. False where none begins. */
static bool refer(struct check *check, uint32_t offset) {
    if (offset >= check->header->strings_size || (offset > 0 && check->strings[offset - 1])) {
        return false;
    }
    check->starts[offset / 8] |= (uint8_t)(1u << offset % 8);
    return true;
}

static bool has_compartment(const struct check *check, uint32_t id) {
    return ia2_map_compartment(check->compartments, check->header->compartment_count, id) != NULL;
}

static const char *check_compartments(struct check *check) {
    const struct ia2_map_header *header = check->header;
    const struct ia2_map_compartment *list = check->compartments;
    for (uint32_t i = 0; i < header->compartment_count; i++) {
        if (list[i].id > IA2_MAP_MAX_COMPARTMENT || (i > 0 && list[i].id <= list[i - 1].id) ||
            !refer(check, list[i].name)) {
            return "exit map has a bad compartment table";
        }
    }
    if (header->compartment_count == 0 || list[0].id != 0) {
        return "exit map has no shared compartment";
    }
    if (header->unlisted != IA2_MAP_EACH && !has_compartment(check, header->unlisted)) {
        return "exit map gives unlisted objects to a compartment that it does not have";
    }
    return NULL;
}

static bool build_id_is_padded(const struct ia2_map_object *object) {
    if (object->build_id_size > IA2_MAP_BUILD_ID) {
        return false;
    }
    for (uint32_t i = object->build_id_size; i < IA2_MAP_BUILD_ID; i++) {
        if (object->build_id[i]) {
            return false;
        }
    }
    return true;
}

static const char *check_objects(struct check *check) {
    const struct ia2_map_header *header = check->header;
    uint32_t next = 0; /* destructors are grouped by object, without gaps */
    for (uint32_t i = 0; i < header->object_count; i++) {
        const struct ia2_map_object *object = &check->objects[i];
        if (!refer(check, object->name) || !build_id_is_padded(object) || (object->flags & ~IA2_MAP_MAIN) != 0 ||
            !has_compartment(check, object->compartment) || object->first_destructor != next ||
            object->destructor_count > header->destructor_count - next) {
            return "exit map has a bad object table";
        }
        if (i > 0 && ia2_map_compare(object->build_id, object->build_id_size, check->strings + object->name, object - 1,
                                     check->strings + object[-1].name) <= 0) {
            return "exit map has objects out of order";
        }
        next += object->destructor_count;
    }
    return next == header->destructor_count ? NULL : "exit map has destructors of no object";
}

static const char *check_destructors(struct check *check, const struct ia2_map_object *object) {
    const struct ia2_map_destructor *list = check->destructors + object->first_destructor;
    const uint32_t known = object->compartment; /* what most of them have needs no search */
    for (uint32_t i = 0; i < object->destructor_count; i++) {
        if (list[i].kind < IA2_EXIT_FINI_ARRAY || list[i].kind > IA2_EXIT_PTHREAD_KEY || list[i].reserved != 0 ||
            (list[i].compartment != known && !has_compartment(check, list[i].compartment)) ||
            !refer(check, list[i].symbol)) {
            return "exit map has a bad destructor table";
        }
        if (i > 0 &&
            (list[i].rva < list[i - 1].rva || (list[i].rva == list[i - 1].rva && list[i].kind <= list[i - 1].kind))) {
            return "exit map has destructors out of order";
        }
    }
    return NULL;
}

/* Bytes of the UTF-8 sequence of several bytes at `at` (RFC 3629, section 4), 0 where there is none. It reads no further than the first
 * byte that does not belong to one, and a NUL never does. */
static uint32_t utf8_length(const uint8_t *at) {
    if (at[0] < 0xc2 || at[0] > 0xf4) {
        return 0;
    }
    const uint8_t lowest = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    const uint8_t highest = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    const uint32_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[1] < lowest || at[1] > highest) {
        return 0;
    }
    for (uint32_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

/* "" and then every text that some entry refers to, once each, in the order of their bytes. */
static const char *check_strings(const struct check *check) {
    const uint8_t *strings = (const uint8_t *)check->strings;
    const uint32_t size = check->header->strings_size;
    uint32_t before = 0;
    for (uint32_t at = 1; at < size;) {
        const uint32_t start = at;
        if ((check->starts[start / 8] >> start % 8 & 1) == 0) {
            return "exit map has a string that nothing refers to";
        }
        uint32_t same = 0; /* bytes that it begins with like the one before it */
        while (strings[before + same] && strings[before + same] == strings[start + same]) {
            same++;
        }
        if (strings[start + same] <= strings[before + same]) {
            return "exit map has strings out of order";
        }
        while (strings[at]) {
            const uint32_t length = strings[at] < 0x80 ? 1 : utf8_length(strings + at);
            if (length == 0) {
                return "exit map has a string that is not UTF-8";
            }
            at += length;
        }
        at++;
        before = start;
    }
    return NULL;
}

static const char *check_tables(struct check *check) {
    const struct ia2_map_header *header = check->header;
    if (check->strings[0] || check->strings[header->strings_size - 1]) {
        return "exit map has a bad string table";
    }
    for (uint64_t at = header->strings + header->strings_size; at < header->total_size; at++) {
        if (((const char *)header)[at]) {
            return "exit map has something behind its strings";
        }
    }
    const char *wrong = check_compartments(check);
    wrong = wrong ? wrong : check_objects(check);
    for (uint32_t i = 0; i < header->object_count && !wrong; i++) {
        wrong = check_destructors(check, &check->objects[i]);
    }
    return wrong ? wrong : check_strings(check);
}

const char *ia2_map_check(const void *file, uint64_t size, uint8_t *scratch) {
    const struct ia2_map_header *header = file;
    const char *wrong = ia2_map_check_header(header, size, size);
    if (wrong) {
        return wrong;
    }
    if (size % 8 != 0) {
        return "exit map is cut short or has something behind it";
    }
    if (checksum_of(header) != header->checksum) {
        return "exit map is damaged (checksum)";
    }
    if (!tables_in_place(header)) {
        return "exit map has a table that is not where it belongs";
    }
    const char *start = file;
    struct check check = {
        .header = header,
        .compartments = (const void *)(start + header->compartments),
        .objects = (const void *)(start + header->objects),
        .destructors = (const void *)(start + header->destructors),
        .strings = start + header->strings,
        .starts = scratch,
    };
    return check_tables(&check);
}
