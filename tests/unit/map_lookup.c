/* What the map answers: each entry, one off, in between, before the first and behind the last. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "map.h"
#include "map_builder.h"

static struct map_file file;

static void load(void) {
    map_build(&file);
    cr_assert_null(map_load(file.bytes, file.size));
}

TestSuite(map_lookup, .init = load);

static const struct ia2_map_object *find(uint32_t object) {
    uint8_t build_id[IA2_MAP_BUILD_ID];
    char name[] = {(char)('a' + object), '.', 's', 'o', '\0'};
    map_build_id(build_id, object);
    return ia2_map_find(build_id, map_build_id_size(object), name);
}

static const struct ia2_map_object *find_bytes(uint8_t byte, size_t filled, uint32_t size) {
    uint8_t build_id[IA2_MAP_BUILD_ID] = {0};
    memset(build_id, byte, filled);
    return ia2_map_find(build_id, size, "d.so");
}

Test(map_lookup, every_object_is_found) {
    for (uint32_t i = 0; i < OBJECTS; i++) {
        const struct ia2_map_object *object = find(i);
        cr_assert_not_null(object, "object %u", i);
        cr_expect_eq(object->compartment, 10 * (i % COMPARTMENTS));
        cr_expect_eq(object->first_destructor, i * DESTRUCTORS_EACH);
    }
}

Test(map_lookup, the_name_of_an_object_with_a_build_id_does_not_matter) {
    uint8_t build_id[IA2_MAP_BUILD_ID];
    map_build_id(build_id, 4);
    cr_expect_not_null(ia2_map_find(build_id, 8, "renamed.so.1"));
}

Test(map_lookup, other_build_ids_are_not_found) {
    cr_expect_null(find_bytes(0x2f, 8, 8), "before the first");
    cr_expect_null(find_bytes(0xff, 20, 20), "behind the last");
    cr_expect_null(find_bytes(0x41, 8, 8), "between two");
    cr_expect_null(find_bytes(0x40, 7, 8), "its last byte differs");
    cr_expect_null(find_bytes(0x40, 7, 7), "shorter");
    cr_expect_null(find_bytes(0x40, 8, 9), "longer by a zero");
    cr_expect_null(find_bytes(0x40, 9, 9), "longer");
    cr_expect_null(find_bytes(0x40, 32, 32), "as long as can be");
    cr_expect_not_null(find_bytes(0x40, 8, 8));
}

Test(map_lookup, an_object_without_build_id_goes_by_its_name) {
    static const uint8_t none[IA2_MAP_BUILD_ID];
    static const char *const absent[] = {"", "A.so", "a.s", "a.so.1", "aa.so", "b.so/", "d.so", "z.so"};
    cr_expect_not_null(ia2_map_find(none, 0, "a.so"));
    cr_expect_not_null(ia2_map_find(none, 0, "c.so"));
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        cr_expect_null(ia2_map_find(none, 0, absent[i]), "%s", absent[i]);
    }
    cr_expect_null(ia2_map_find(none, 20, "a.so"), "a build ID of zeros is one");
}

Test(map_lookup, every_destructor_is_found_with_its_metadata) {
    for (uint32_t i = 0; i < OBJECTS; i++) {
        for (uint32_t j = 0; j < DESTRUCTORS_EACH; j++) {
            uint32_t kind = map_kind(i, j);
            const struct ia2_destructor *found = ia2_map_destructor(find(i), map_rva(i, j), kind);
            cr_assert_not_null(found, "object %u, destructor %u", i, j);
            cr_expect_eq(found, ia2_map_destructor(find(i), map_rva(i, j), 0), "of any kind");
            cr_expect_eq(found->rva, map_rva(i, j));
            cr_expect_eq(found->kind, kind);
            cr_expect_eq(found->compartment, 10 * (j % COMPARTMENTS));
            char symbol[32];
            snprintf(symbol, sizeof symbol, "destructor_%u_%u", i, j);
            cr_expect(j + 1 < DESTRUCTORS_EACH ? strcmp(found->symbol, symbol) == 0 : found->symbol == NULL);
            cr_expect_eq(found->object[0], 'a' + (char)i);
        }
    }
}

Test(map_lookup, an_address_that_is_off_is_not_found) {
    for (uint32_t i = 0; i < OBJECTS; i++) {
        const struct ia2_map_object *object = find(i);
        for (uint32_t j = 0; j < DESTRUCTORS_EACH; j++) {
            cr_expect_null(ia2_map_destructor(object, map_rva(i, j) - 1, 0), "one before");
            cr_expect_null(ia2_map_destructor(object, map_rva(i, j) + 1, 0), "one behind");
            cr_expect_null(ia2_map_destructor(object, map_rva(i, j) + 8, 0), "between");
        }
        cr_expect_null(ia2_map_destructor(object, 0, 0), "before the first");
        cr_expect_null(ia2_map_destructor(object, UINT64_MAX, 0), "behind the last");
        cr_expect_null(ia2_map_destructor(object, map_rva((i + 1) % OBJECTS, 0), 0), "another object's");
    }
}

Test(map_lookup, a_destructor_of_another_kind_is_not_found) {
    const struct ia2_map_object *object = find(0);
    for (uint32_t kind = 1; kind <= IA2_EXIT_PTHREAD_KEY + 1; kind++) {
        cr_expect_eq(ia2_map_destructor(object, map_rva(0, 3), kind) != NULL, kind == 4, "kind %u", kind);
    }
}

Test(map_lookup, one_address_may_have_several_kinds) {
    map_build(&file);
    struct ia2_map_destructor *entry = map_destructor(&file, 2);
    entry[1].rva = entry->rva;
    entry[1].kind = IA2_EXIT_PTHREAD_KEY;
    map_seal(&file);
    cr_assert_null(map_load(file.bytes, file.size));
    const struct ia2_destructor *lower = ia2_map_destructor(find(0), entry->rva, entry->kind);
    const struct ia2_destructor *higher = ia2_map_destructor(find(0), entry->rva, IA2_EXIT_PTHREAD_KEY);
    cr_assert_not_null(lower);
    cr_assert_not_null(higher);
    cr_expect_eq(higher, lower + 1);
    cr_expect_eq(ia2_map_destructor(find(0), entry->rva, 0), lower);
    cr_expect_null(ia2_map_destructor(find(0), entry->rva, IA2_EXIT_PTHREAD_KEY - 1));
}

Test(map_lookup, compartments_are_found_by_id) {
    for (uint32_t id = 0; id < 70; id++) {
        const char *name = ia2_map_compartment_name(id);
        bool there = id % 10 == 0 && id / 10 < COMPARTMENTS;
        cr_expect_eq(name != NULL, there, "id %u", id);
        cr_expect(!there || (name[12] == (char)('0' + id / 10) && name[13] == '\0'), "%s", name);
    }
    cr_expect_null(ia2_map_compartment_name(UINT32_MAX));
    cr_expect_eq(ia2_map_last_compartment(), 10 * (COMPARTMENTS - 1));
}

Test(map_lookup, unlisted_is_what_the_header_says) {
    cr_expect_eq(ia2_map_unlisted(), IA2_MAP_EACH);
    map_build(&file);
    file.header.unlisted = 20;
    map_seal(&file);
    cr_assert_null(map_load(file.bytes, file.size));
    cr_expect_eq(ia2_map_unlisted(), 20);
}

Test(map_lookup, a_map_without_destructors_or_objects_is_fine) {
    map_build_small(&file, OBJECTS, 0);
    cr_assert_null(map_load(file.bytes, file.size));
    cr_expect_null(ia2_map_destructor(find(3), map_rva(3, 0), 0));
    map_build_small(&file, 0, 0);
    cr_assert_null(map_load(file.bytes, file.size));
    cr_expect_null(find(3));
    cr_expect_null(ia2_map_find((const uint8_t[IA2_MAP_BUILD_ID]){0}, 0, ""));
}

Test(map_missing, there_is_no_answer) {
    cr_expect_not(ia2_map_loaded());
    cr_expect_null(find(0));
    cr_expect_null(ia2_map_compartment_name(0));
    cr_expect_eq(ia2_map_unlisted(), IA2_MAP_EACH);
    cr_expect_eq(ia2_map_last_compartment(), 0);
    cr_expect_null(ia2_map_destructor(NULL, 0x1000, 0));
    cr_expect_null(ia2_map_verify(), "nothing is not changed");
    cr_expect_str_eq(ia2_map_protection(), "no map");
}
