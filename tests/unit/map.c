/* The binary exit map in memory: what is refused and why, and what the look-ups answer. */
#include "map.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map_builder.h"

TestSuite(map, .timeout = 50);

static struct map_file file;

static void check_refused(const char *wrong, const char *part) {
    cr_expect_not_null(wrong, "accepted; expected: %s", part);
    if (wrong) {
        cr_expect_not_null(strstr(wrong, part), "%s; expected: %s", wrong, part);
    }
    cr_expect_not(ia2_map_loaded());
}

/* ---- files that are no maps ---- */

Test(map, a_valid_map_is_loaded) {
    map_build(&file);
    cr_expect_geq(file.size, 3000u, "a map of realistic size: %zu bytes", file.size);
    cr_expect_null(map_load(file.bytes, file.size));
    cr_expect(ia2_map_loaded());
}

Test(map, a_file_that_cannot_be_used_is_refused) {
    check_refused(ia2_map_load("/nonexistent/map"), "cannot be opened");
    check_refused(ia2_map_load(""), "cannot be opened");
    check_refused(ia2_map_load("/dev/null"), "empty");
    check_refused(ia2_map_load("/"), "cannot be mapped");
    check_refused(ia2_map_load("/proc/self/exe"), "not a binary exit map");
    check_refused(map_load("", 0), "empty");
}

Test(map, a_file_of_many_gigabytes_is_refused_unread) {
    int fd = memfd_create("map", 0);
    char path[32];
    cr_assert_eq(ftruncate(fd, 5l << 31), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_refused(ia2_map_load(path), "too large");
}

Test(map, a_refused_map_leaves_no_descriptor_and_no_mapping) {
    map_build(&file);
    int before = dup(0);
    close(before);
    for (int i = 0; i < 3; i++) {
        check_refused(map_load(file.bytes, file.size - 1), "cut short");
    }
    cr_expect_null(map_load(file.bytes, file.size));
    int after = dup(0);
    cr_expect_eq(after, before);
}

/* ---- damage: every bit, every length ---- */

/* What the check must say of a change in the byte at `offset`. */
static const char *complaint(size_t offset) {
    if (offset < offsetof(struct ia2_map_header, version)) {
        return "not a binary exit map";
    }
    if (offset < offsetof(struct ia2_map_header, total_size)) {
        return "another version";
    }
    return offset < offsetof(struct ia2_map_header, checksum) ? "cut short" : "checksum";
}

Test(map, every_single_bit_flip_is_refused) {
    map_build(&file);
    int fd = memfd_create("map", 0);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    cr_assert_eq(write(fd, file.bytes, file.size), (ssize_t)file.size);
    for (size_t at = 0; at < file.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            unsigned char flipped = file.bytes[at] ^ (unsigned char)(1u << bit);
            cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
            const char *wrong = ia2_map_load(path);
            cr_assert(wrong && strstr(wrong, complaint(at)), "byte %zu, bit %d: %s", at, bit, wrong ? wrong : "taken");
        }
        cr_assert_eq(pwrite(fd, &file.bytes[at], 1, (off_t)at), 1);
    }
    cr_expect_null(ia2_map_load(path), "all bits are back");
}

Test(map, every_truncation_is_refused) {
    map_build(&file);
    for (size_t size = 0; size < file.size; size++) {
        const char *wrong = map_load(file.bytes, size);
        const char *expected = size == 0 ? "empty" : size < sizeof file.header ? "not a binary exit map" : "cut short";
        cr_assert(wrong && strstr(wrong, expected), "%zu bytes: %s", size, wrong ? wrong : "taken");
    }
}

/* The same where the header has been made to agree with what is left. */
Test(map, every_truncation_with_a_matching_header_is_refused_or_harmless) {
    for (size_t size = sizeof file.header;; size++) {
        map_build(&file);
        size_t whole = file.size;
        if (size >= whole) {
            break;
        }
        file.size = file.header.total_size = size;
        map_seal(&file);
        const char *wrong = map_load(file.bytes, size);
        bool padding = size >= file.header.strings + file.header.strings_size;
        cr_assert_eq(wrong == NULL, padding, "%zu bytes: %s", size, wrong ? wrong : "taken");
    }
}

Test(map, something_behind_the_map_is_refused) {
    map_build(&file);
    for (size_t more = 1; more <= 16; more++) {
        check_refused(map_load(file.bytes, file.size + more), "cut short or has something behind it");
    }
}

Test(map, another_version_is_refused_whatever_its_checksum) {
    map_build(&file);
    file.header.version = IA2_MAP_VERSION + 1;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "another version");
    map_build(&file);
    file.header.header_size += 8;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "another version");
}

/* ---- violations of the structure under a right checksum ---- */

static void tables_header(struct map_file *f, int which) {
    uint64_t *offsets[] = {&f->header.compartments, &f->header.objects, &f->header.destructors, &f->header.strings};
    uint32_t *counts[] = {&f->header.compartment_count, &f->header.object_count, &f->header.destructor_count,
                          &f->header.strings_size};
    uint64_t *offset = offsets[which % 4];
    switch (which / 4) {
    case 0:
        *offset = f->size + 8;
        break;
    case 1:
        *offset = UINT64_MAX - 7;
        break;
    case 2:
        *offset = 0;
        break;
    case 3:
        *offset += 4;
        break;
    case 4:
        *offset -= 1;
        break;
    case 5:
        *counts[which % 4] = UINT32_MAX;
        break;
    case 6:
        *offset = f->size - 8;
        *counts[which % 4] = 9;
        break;
    default:
        *offset = sizeof f->header - 8;
        break;
    }
}

Test(map, tables_outside_the_file_are_refused) {
    for (int which = 0; which < 8 * 4; which++) {
        map_build(&file);
        tables_header(&file, which);
        map_seal(&file);
        check_refused(map_load(file.bytes, file.size), "table outside the file");
    }
    map_build(&file);
    file.header.strings_size = 0;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "table outside the file");
}

/* One way to break each rule; `expected` is part of the message. */
struct violation {
    const char name[32];
    const char expected[40];
    int rule;
};

enum rule {
    COMPARTMENT_ORDER,
    COMPARTMENT_TWICE,
    COMPARTMENT_LIMIT,
    COMPARTMENT_NAME,
    NO_SHARED,
    NO_COMPARTMENTS,
    UNLISTED,
    OBJECT_ORDER,
    OBJECT_TWICE,
    NAMED_ORDER,
    NAMED_TWICE,
    OBJECT_NAME,
    OBJECT_COMPARTMENT,
    BUILD_ID_SIZE,
    FIRST_GAP,
    FIRST_OVERLAP,
    COUNT_OVERLAP,
    COUNT_BEYOND,
    COUNT_WRAPS,
    LEFT_OVER,
    DESTRUCTOR_ORDER,
    DESTRUCTOR_TWICE,
    KIND_ZERO,
    KIND_HIGH,
    DESTRUCTOR_COMPARTMENT,
    SYMBOL,
    STRINGS_START,
    STRINGS_END
};

static void swap(void *a, void *b, size_t size) {
    unsigned char kept[64];
    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

static void break_compartments(enum rule rule) {
    switch (rule) {
    case COMPARTMENT_ORDER:
        swap(map_compartment(&file, 2), map_compartment(&file, 3), 8);
        break;
    case COMPARTMENT_TWICE:
        map_compartment(&file, 3)->id = map_compartment(&file, 2)->id;
        break;
    case COMPARTMENT_LIMIT:
        map_compartment(&file, COMPARTMENTS - 1)->id = IA2_MAP_MAX_COMPARTMENT + 1;
        break;
    case COMPARTMENT_NAME:
        map_compartment(&file, 1)->name = file.header.strings_size;
        break;
    case NO_SHARED:
        map_compartment(&file, 0)->id = 1;
        break;
    case NO_COMPARTMENTS:
        file.header.compartment_count = 0;
        break;
    default:
        file.header.unlisted = 11;
        break;
    }
}

static void break_objects(enum rule rule) {
    struct ia2_map_object *object = map_object(&file, 5);
    struct ia2_map_object *named = map_object(&file, 1);
    switch (rule) {
    case OBJECT_ORDER:
        swap(object->build_id, object[1].build_id, sizeof object->build_id + 8);
        break;
    case OBJECT_TWICE:
        memcpy(object[1].build_id, object->build_id, sizeof object->build_id + 4);
        break;
    case NAMED_ORDER:
        swap(&named->name, &named[1].name, 4);
        break;
    case NAMED_TWICE:
        named[1].name = named->name;
        break;
    case OBJECT_NAME:
        object->name = file.header.strings_size;
        break;
    case OBJECT_COMPARTMENT:
        object->compartment = 7;
        break;
    case BUILD_ID_SIZE:
        object->build_id_size = IA2_MAP_BUILD_ID + 1;
        break;
    case FIRST_GAP:
        object->first_destructor++;
        break;
    case FIRST_OVERLAP:
        object->first_destructor--;
        break;
    case COUNT_OVERLAP:
        object->destructor_count++;
        break;
    case COUNT_BEYOND:
        map_object(&file, OBJECTS - 1)->destructor_count++;
        break;
    case COUNT_WRAPS:
        object->destructor_count = UINT32_MAX;
        break;
    default:
        map_object(&file, OBJECTS - 1)->destructor_count--;
        break;
    }
}

static void break_destructors(enum rule rule) {
    struct ia2_map_destructor *entry = map_destructor(&file, 17);
    switch (rule) {
    case DESTRUCTOR_ORDER:
        swap(entry, entry + 1, sizeof *entry);
        break;
    case DESTRUCTOR_TWICE:
        entry[1].rva = entry->rva;
        entry[1].kind = entry->kind;
        break;
    case KIND_ZERO:
        entry->kind = 0;
        break;
    case KIND_HIGH:
        entry->kind = IA2_EXIT_PTHREAD_KEY + 1;
        break;
    case DESTRUCTOR_COMPARTMENT:
        entry->compartment = 4000;
        break;
    case SYMBOL:
        entry->symbol = file.header.strings_size;
        break;
    case STRINGS_START:
        map_strings(&file)[0] = 'x';
        break;
    default:
        map_strings(&file)[file.header.strings_size - 1] = 'x';
        break;
    }
}

ParameterizedTestParameters(map, violations_of_the_structure_are_refused) {
    static struct violation violations[] = {
        {"compartments unsorted", "bad compartment table", COMPARTMENT_ORDER},
        {"a compartment twice", "bad compartment table", COMPARTMENT_TWICE},
        {"compartment id above the limit", "bad compartment table", COMPARTMENT_LIMIT},
        {"compartment name outside", "bad compartment table", COMPARTMENT_NAME},
        {"first compartment not shared", "no shared compartment", NO_SHARED},
        {"no compartment at all", "no shared compartment", NO_COMPARTMENTS},
        {"unlisted in no compartment", "gives unlisted objects", UNLISTED},
        {"objects unsorted", "objects out of order", OBJECT_ORDER},
        {"a build ID twice", "objects out of order", OBJECT_TWICE},
        {"named objects unsorted", "objects out of order", NAMED_ORDER},
        {"a name twice", "objects out of order", NAMED_TWICE},
        {"object name outside", "bad object table", OBJECT_NAME},
        {"object in no compartment", "bad object table", OBJECT_COMPARTMENT},
        {"build ID too long", "bad object table", BUILD_ID_SIZE},
        {"a gap between destructors", "bad object table", FIRST_GAP},
        {"destructors that overlap", "bad object table", FIRST_OVERLAP},
        {"a count that overlaps", "bad object table", COUNT_OVERLAP},
        {"a count beyond the table", "bad object table", COUNT_BEYOND},
        {"a count that wraps round", "bad object table", COUNT_WRAPS},
        {"destructors of no object", "destructors of no object", LEFT_OVER},
        {"destructors unsorted", "destructors out of order", DESTRUCTOR_ORDER},
        {"a destructor twice", "destructors out of order", DESTRUCTOR_TWICE},
        {"kind 0", "bad destructor table", KIND_ZERO},
        {"kind above the last", "bad destructor table", KIND_HIGH},
        {"destructor in no compartment", "bad destructor table", DESTRUCTOR_COMPARTMENT},
        {"symbol outside", "bad destructor table", SYMBOL},
        {"string 0 not empty", "bad string table", STRINGS_START},
        {"last string without an end", "bad string table", STRINGS_END},
    };
    return cr_make_param_array(struct violation, violations, sizeof violations / sizeof *violations);
}

ParameterizedTest(struct violation *violation, map, violations_of_the_structure_are_refused) {
    map_build(&file);
    enum rule rule = (enum rule)violation->rule;
    if (rule <= UNLISTED) {
        break_compartments(rule);
    } else if (rule <= LEFT_OVER) {
        break_objects(rule);
    } else {
        break_destructors(rule);
    }
    map_seal(&file);
    const char *wrong = map_load(file.bytes, file.size);
    cr_expect(wrong && strstr(wrong, violation->expected), "%s: %s, expected: %s", violation->name,
              wrong ? wrong : "accepted", violation->expected);
    cr_expect_not(ia2_map_loaded());
}
