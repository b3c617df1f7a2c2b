/* A binary exit map with a right checksum that is not as it should be: which rule each refusal names. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "map.h"
#include "map_builder.h"

TestSuite(map_structure, .timeout = 50);

static struct map_file file;

static void check_refused(const char *wrong, const char *part) {
    cr_expect_not_null(wrong, "accepted; expected: %s", part);
    if (wrong) {
        cr_expect_not_null(strstr(wrong, part), "%s; expected: %s", wrong, part);
    }
    cr_expect_not(ia2_map_loaded());
}

static uint64_t *table_offset(uint32_t which) {
    uint64_t *offsets[] = {&file.header.compartments, &file.header.objects, &file.header.destructors,
                           &file.header.strings};
    return offsets[which];
}

static uint32_t *table_count(uint32_t which) {
    uint32_t *counts[] = {&file.header.compartment_count, &file.header.object_count, &file.header.destructor_count,
                          &file.header.strings_size};
    return counts[which];
}

Test(map_structure, a_table_has_one_place) {
    static const uint64_t moves[] = {1, 4, 8, 64, 1ul << 31, 1ul << 32, 1ul << 63, -1ul, -4ul, -8ul, -80ul};
    for (uint32_t which = 0; which < 4; which++) {
        for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
            map_build(&file);
            *table_offset(which) += moves[i];
            map_seal(&file);
            check_refused(map_load(file.bytes, file.size), "a table that is not where it belongs");
        }
    }
}

Test(map_structure, a_table_has_as_many_entries_as_fill_its_place) {
    static const uint32_t changes[] = {8, 9, 1u << 16, 1u << 31, 0u - 8, 0u - 9};
    for (uint32_t which = 0; which < 4; which++) {
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            map_build(&file);
            *table_count(which) += changes[i];
            map_seal(&file);
            check_refused(map_load(file.bytes, file.size), "a table that is not where it belongs");
        }
    }
    map_build(&file);
    file.header.strings_size = 0;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "a table that is not where it belongs");
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
    UNLISTED,
    OBJECT_ORDER,
    OBJECT_TWICE,
    NAMED_ORDER,
    NAMED_TWICE,
    OBJECT_NAME,
    OBJECT_COMPARTMENT,
    BUILD_ID_SIZE,
    BUILD_ID_PADDING,
    FLAGS,
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
    RESERVED,
    SYMBOL,
    SYMBOL_INSIDE,
    STRINGS_START,
    STRINGS_END,
    STRING_UNUSED,
    STRING_EMPTY,
    STRING_ORDER,
    STRING_TWICE,
    STRING_ENCODING,
    PADDING
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
    case BUILD_ID_PADDING:
        object->build_id[IA2_MAP_BUILD_ID - 1] = 1;
        break;
    case FLAGS:
        object->flags |= IA2_MAP_MAIN << 1;
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
    case RESERVED:
        entry->reserved = 1;
        break;
    case SYMBOL:
        entry->symbol = file.header.strings_size;
        break;
    default:
        entry->symbol++;
        break;
    }
}

/* The first strings are a.so, b.so, c.so, compartment_0. */
static void break_strings(enum rule rule) {
    char *strings = map_strings(&file);
    switch (rule) {
    case STRINGS_START:
        strings[0] = 'x';
        break;
    case STRINGS_END:
        strings[file.header.strings_size - 1] = 'x';
        break;
    case STRING_UNUSED:
        map_destructor(&file, 17)->symbol = 0;
        break;
    case STRING_EMPTY:
        strings[1 + 5 + 3] = '\0'; /* b.s, and then an empty one */
        break;
    case STRING_ORDER:
        strings[1 + 5 + 5] = 'z';
        break;
    case STRING_TWICE:
        strings[map_destructor(&file, 1)->symbol + 13] = '0'; /* destructor_0_1 */
        break;
    case STRING_ENCODING:
        strings[1 + 5 + 1] = '\x80';
        break;
    default:
        cr_assert_neq(file.header.strings_size % 8, 0, "there is something to break");
        file.bytes[file.size - 1] = 1;
        break;
    }
}

ParameterizedTestParameters(map_structure, violations_of_the_structure_are_refused) {
    static struct violation violations[] = {
        {"compartments unsorted", "bad compartment table", COMPARTMENT_ORDER},
        {"a compartment twice", "bad compartment table", COMPARTMENT_TWICE},
        {"compartment id above the limit", "bad compartment table", COMPARTMENT_LIMIT},
        {"compartment name outside", "bad compartment table", COMPARTMENT_NAME},
        {"first compartment not shared", "no shared compartment", NO_SHARED},
        {"unlisted in no compartment", "gives unlisted objects", UNLISTED},
        {"objects unsorted", "objects out of order", OBJECT_ORDER},
        {"a build ID twice", "objects out of order", OBJECT_TWICE},
        {"named objects unsorted", "objects out of order", NAMED_ORDER},
        {"a name twice", "objects out of order", NAMED_TWICE},
        {"object name outside", "bad object table", OBJECT_NAME},
        {"object in no compartment", "bad object table", OBJECT_COMPARTMENT},
        {"build ID too long", "bad object table", BUILD_ID_SIZE},
        {"build ID longer than it says", "bad object table", BUILD_ID_PADDING},
        {"unknown flag", "bad object table", FLAGS},
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
        {"reserved field", "bad destructor table", RESERVED},
        {"symbol inside a string", "bad destructor table", SYMBOL_INSIDE},
        {"string 0 not empty", "bad string table", STRINGS_START},
        {"last string without an end", "bad string table", STRINGS_END},
        {"a string that nobody has", "string that nothing refers to", STRING_UNUSED},
        {"an empty string", "string that nothing refers to", STRING_EMPTY},
        {"strings unsorted", "strings out of order", STRING_ORDER},
        {"a string twice", "strings out of order", STRING_TWICE},
        {"a string that is not UTF-8", "not UTF-8", STRING_ENCODING},
        {"padding", "something behind its strings", PADDING},
    };
    return cr_make_param_array(struct violation, violations, sizeof violations / sizeof *violations);
}

ParameterizedTest(struct violation *violation, map_structure, violations_of_the_structure_are_refused) {
    map_build(&file);
    enum rule rule = (enum rule)violation->rule;
    if (rule <= UNLISTED) {
        break_compartments(rule);
    } else if (rule <= LEFT_OVER) {
        break_objects(rule);
    } else if (rule <= SYMBOL_INSIDE) {
        break_destructors(rule);
    } else {
        break_strings(rule);
    }
    map_seal(&file);
    const char *wrong = map_load(file.bytes, file.size);
    cr_expect(wrong && strstr(wrong, violation->expected), "%s: %s, expected: %s", violation->name,
              wrong ? wrong : "accepted", violation->expected);
    cr_expect_not(ia2_map_loaded());
}
