/* The resident image of an exit map: every flipped bit is found when the whole is verified, and no look-up gives an answer that rests on
 * one. */
#include "map_image.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map_builder.h"

static const uint64_t key[2] = {0x0123456789abcdefu, 0xfedcba9876543210u};
static struct map_file file;
static struct ia2_map_image *image; /* what the tests bend */
static uint64_t size;

static void build(void) {
    map_build(&file);
    size = ia2_map_image_size(&file.header);
    image = calloc(1, size);
    cr_assert_not_null(image);
    ia2_map_image_build(image, &file.header, key);
}

TestSuite(map_image, .init = build, .timeout = 50);

/* Where the tables begin (map_image.h). */
enum {
    OBJECT_TABLE = sizeof(struct ia2_map_image),
    DESTRUCTOR_TABLE = OBJECT_TABLE + OBJECTS * sizeof(struct ia2_map_object),
    OBJECT_CODES = DESTRUCTOR_TABLE + OBJECTS * DESTRUCTORS_EACH * sizeof(struct ia2_destructor),
    DESTRUCTOR_CODES = OBJECT_CODES + OBJECTS * 16,
    COMPARTMENT_TABLE = DESTRUCTOR_CODES + OBJECTS * DESTRUCTORS_EACH * 8,
    STRINGS = COMPARTMENT_TABLE + COMPARTMENTS * 8,
};

static void flip(uint64_t bit) { ((unsigned char *)image)[bit / 8] ^= (unsigned char)(1u << bit % 8); }

/* ---- the whole ---- */

Test(map_image, nothing_is_wrong_with_one_that_was_just_built) {
    cr_expect_null(ia2_map_image_verify(image, size, key));
    cr_expect_eq(size, (uint64_t)STRINGS + (file.header.strings_size + 7) / 8 * 8);
}

Test(map_image, every_single_bit_flip_is_found) {
    for (uint64_t bit = 0; bit < 8 * size; bit++) {
        flip(bit);
        const char *wrong = ia2_map_image_verify(image, size, key);
        cr_assert_not_null(wrong, "bit %d of byte %lu", (int)(bit % 8), bit / 8);
        flip(bit);
    }
    cr_expect_null(ia2_map_image_verify(image, size, key), "all bits are back");
}

Test(map_image, what_was_changed_is_named) {
    for (uint64_t byte = 0; byte < size; byte++) {
        const uint64_t entry = (byte - OBJECT_CODES) / 16;
        const bool code_of_name = byte >= OBJECT_CODES && byte < DESTRUCTOR_CODES && byte % 16 == OBJECT_CODES % 16 + 8;
        const char *expected = byte < offsetof(struct ia2_map_image, header_code) ? "the code of the whole"
                               : byte < OBJECT_TABLE                              ? "the header"
                               : byte < DESTRUCTOR_TABLE                          ? "the entry of an object"
                               : byte < OBJECT_CODES                              ? "the entry of a destructor"
                               : code_of_name && entry < OBJECTS                  ? "the name of an object"
                               : byte < DESTRUCTOR_CODES                          ? "an object"
                               : byte < COMPARTMENT_TABLE                         ? "the entry of a destructor"
                                                                                  : "";
        flip(8 * byte);
        const char *wrong = ia2_map_image_verify(image, size, key);
        cr_assert(wrong && strstr(wrong, expected), "byte %lu: %s, expected: %s", byte, wrong, expected);
        flip(8 * byte);
    }
}

Test(map_image, another_key_or_size_does_not_fit) {
    cr_expect_str_eq(ia2_map_image_verify(image, size, (const uint64_t[]){key[0], key[1] ^ 1}), "the header");
    cr_expect_str_eq(ia2_map_image_verify(image, size, (const uint64_t[]){key[0] ^ 1, key[1]}), "the header");
    cr_expect_str_eq(ia2_map_image_verify(image, size - 8, key), "the header");
    cr_expect_str_eq(ia2_map_image_verify(image, 0, key), "the header");
}

/* What nobody can do with loads and stores alone: exchange genuine entries together with their codes. */
Test(map_image, a_genuine_entry_in_the_place_of_another_is_found) {
    struct ia2_map_object *objects = (void *)((char *)image + OBJECT_TABLE);
    uint64_t *codes = (void *)((char *)image + OBJECT_CODES);
    objects[5] = objects[6];
    codes[10] = codes[12];
    codes[11] = codes[13];
    cr_expect_str_eq(ia2_map_image_verify(image, size, key), "the entry of an object");
    map_expects_tampering = true;
    if (setjmp(map_tampering) == 0) {
        ia2_map_image_destructor(image, key, &objects[5], map_rva(6, 0), 0);
        cr_expect_fail("it was taken");
    }
    cr_expect_str_eq(map_tampered_detail, "the entry of an object");
}

/* ---- look-ups ---- */

static const struct ia2_map_object *find(uint32_t object) {
    uint8_t build_id[IA2_MAP_BUILD_ID];
    char name[] = {(char)('a' + object), '.', 's', 'o', '\0'};
    map_build_id(build_id, object);
    return ia2_map_image_find(image, key, build_id, map_build_id_size(object), name);
}

static void expect_object(uint32_t i) {
    const struct ia2_map_object *object = find(i);
    cr_assert_not_null(object, "object %u is there", i);
    cr_assert_eq(object->compartment, 10 * (i % COMPARTMENTS));
    cr_assert_eq(object->first_destructor, i * DESTRUCTORS_EACH);
    cr_assert_eq(object->destructor_count, (uint32_t)DESTRUCTORS_EACH);
}

static void expect_destructor(uint32_t i, uint32_t j) {
    const struct ia2_map_object *object = (const struct ia2_map_object *)(const void *)(image + 1) + i;
    const struct ia2_destructor *found = ia2_map_image_destructor(image, key, object, map_rva(i, j), map_kind(i, j));
    cr_assert_not_null(found, "destructor %u of object %u is there", j, i);
    cr_assert_eq(found->rva, map_rva(i, j));
    cr_assert_eq(found->kind, map_kind(i, j));
    cr_assert_eq(found->compartment, 10 * (j % COMPARTMENTS));
    cr_assert_eq(found, ia2_map_image_destructor(image, key, object, map_rva(i, j), 0));
}

static void expect_no_destructor(uint32_t i, uint32_t j) {
    const struct ia2_map_object *object = (const struct ia2_map_object *)(const void *)(image + 1) + i;
    cr_assert_null(ia2_map_image_destructor(image, key, object, map_rva(i, j) - 1, 0));
    cr_assert_null(ia2_map_image_destructor(image, key, object, map_rva(i, j) + 1, 0));
    cr_assert_null(ia2_map_image_destructor(image, key, object, map_rva(i, j), map_kind(i, j) % 8 + 1));
}

static void expect_others(void) {
    static const uint8_t other[IA2_MAP_BUILD_ID] = {0x41, 0x41};
    cr_assert_null(ia2_map_image_find(image, key, other, 2, "d.so"));
    cr_assert_null(ia2_map_image_find(image, key, (const uint8_t[IA2_MAP_BUILD_ID]){0}, 0, "bb.so"));
    cr_assert_eq(ia2_map_image_unlisted(image, key), IA2_MAP_EACH);
    cr_assert_not_null(ia2_map_image_compartment_name(image, key, 0));
}

/* One after the other, so that each is tried although another has found the damage. */
static void expect_answer(uint32_t question) {
    if (question < OBJECTS) {
        expect_object(question);
        return;
    }
    question -= OBJECTS;
    const uint32_t all = OBJECTS * DESTRUCTORS_EACH;
    if (question < all) {
        expect_destructor(question / DESTRUCTORS_EACH, question % DESTRUCTORS_EACH);
    } else if (question < 2 * all) {
        question -= all;
        expect_no_destructor(question / DESTRUCTORS_EACH, question % DESTRUCTORS_EACH);
    } else {
        expect_others();
    }
}

enum { QUESTIONS = OBJECTS + 2 * OBJECTS * DESTRUCTORS_EACH + 1 };

/* Asks everything. Returns how often damage was found instead of an answer; a wrong answer fails the test. */
static uint32_t ask(void) {
    static uint32_t question; /* static: they live through longjmp() */
    static uint32_t found;
    found = 0;
    map_expects_tampering = true;
    for (question = 0; question < QUESTIONS; question++) {
        if (setjmp(map_tampering) == 0) {
            expect_answer(question);
        } else {
            found++;
        }
    }
    map_expects_tampering = false;
    return found;
}

/* Some look-up rests on this byte. What does not decide anything is authenticated with the whole only: texts for people, names of
 * objects that go by their build ID. */
static bool matters(uint64_t byte) {
    if (byte >= OBJECT_CODES && byte < DESTRUCTOR_CODES && (byte - OBJECT_CODES) % 16 >= 8) {
        return (byte - OBJECT_CODES) / 16 < WITHOUT_BUILD_ID;
    }
    return byte >= offsetof(struct ia2_map_image, header_code) && byte < COMPARTMENT_TABLE;
}

Test(map_image, no_single_bit_flip_leads_to_a_wrong_answer) {
    cr_assert_eq(ask(), 0, "all is well");
    for (uint64_t bit = 0; bit < 8ul * COMPARTMENT_TABLE; bit++) {
        flip(bit);
        const uint32_t found = ask();
        cr_assert_eq(found > 0, matters(bit / 8), "bit %d of byte %lu: found %u times", (int)(bit % 8), bit / 8, found);
        flip(bit);
    }
    cr_expect_eq(ask(), 0, "all bits are back");
}

Test(map_image, the_name_of_an_object_without_build_id_is_authenticated) {
    for (uint32_t i = 0; i < WITHOUT_BUILD_ID; i++) {
        const uint64_t at = STRINGS + ((const struct ia2_map_object *)(const void *)(image + 1))[i].name;
        for (uint64_t bit = 8 * at; bit < 8 * (at + sizeof "a.so"); bit++) {
            flip(bit);
            cr_assert_gt(ask(), 0, "bit %lu of %c.so", bit - 8 * at, 'a' + (char)i);
            flip(bit);
        }
    }
}

Test(map_image, an_object_that_is_not_in_the_map_is_refused) {
    const struct ia2_map_object *objects = (const void *)(image + 1);
    const void *const others[] = {NULL, &file, &objects[-1], (const char *)objects + 8, &objects[OBJECTS], (void *)-8l};
    map_expects_tampering = true;
    for (volatile size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (setjmp(map_tampering) == 0) {
            ia2_map_image_destructor(image, key, others[i], map_rva(0, 0), 0);
            cr_expect_fail("number %zu was taken", i);
        }
    }
}
