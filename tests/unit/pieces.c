/* The ranges of objects, cut along the mappings. The objects here are made up; their memory is real. */
#include "pieces.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "objects.h"

enum { PAGE = 4096, OBJECTS = 2000, ROOM = 4096 };
enum { R = PROT_READ, RW = PROT_READ | PROT_WRITE, RX = PROT_READ | PROT_EXEC, RWX = RW | PROT_EXEC };

TestSuite(pieces, .timeout = 50);

static struct ia2_object objects[OBJECTS + 1];
static uint32_t highest;
static const struct link_map loaded;
static struct ia2_piece pieces[ROOM];

struct ia2_object *ia2_object(uint32_t slot) { return &objects[slot]; }
uint32_t ia2_objects_highest(void) { return highest; }

/* Pages with these protections, a letter a page: '-' none, 'r', 'w' (both), 'x' (readable code), 'a' (all), ' ' not mapped. */
static uintptr_t pages(const char *letters) {
    const size_t count = strlen(letters);
    char *memory = mmap(NULL, count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        const char letter = letters[i];
        int protection = letter == 'r' ? R : letter == 'w' ? RW : letter == 'x' ? RX : letter == 'a' ? RWX : PROT_NONE;
        cr_assert_eq(letter == ' ' ? munmap(memory + i * PAGE, PAGE) : mprotect(memory + i * PAGE, PAGE, protection),
                     0);
    }
    return (uintptr_t)memory;
}

static struct ia2_object *object(uint16_t compartment) {
    struct ia2_object *made = &objects[++highest];
    made->map = &loaded;
    made->compartment = compartment;
    return made;
}

/* Adds a range of whole pages. */
static void range(struct ia2_object *of, uintptr_t memory, size_t from, size_t to) {
    of->ranges[of->range_count++] = (struct ia2_range){memory + from * PAGE, memory + to * PAGE};
}

static void check(uint32_t index, uintptr_t memory, size_t from, size_t to, uint32_t slot, int protection) {
    cr_expect_eq(pieces[index].start, memory + from * PAGE, "start of piece %u", index);
    cr_expect_eq(pieces[index].end, memory + to * PAGE, "end of piece %u", index);
    cr_expect_eq(pieces[index].slot, slot);
    cr_expect_eq(pieces[index].compartment, objects[slot].compartment);
    cr_expect_eq(pieces[index].protection, protection);
    cr_expect_eq(pieces[index].state, 0);
}

Test(pieces, without_objects_there_are_none) { cr_expect_eq(ia2_pieces_make(pieces, ROOM), 0); }

Test(pieces, each_has_the_protection_that_its_pages_have) {
    uintptr_t memory = pages("wwwrrwrw");
    range(object(5), memory, 1, 7);
    cr_assert_eq(ia2_pieces_make(pieces, ROOM), 4);
    check(0, memory, 1, 3, 1, RW);
    check(1, memory, 3, 5, 1, R);
    check(2, memory, 5, 6, 1, RW);
    check(3, memory, 6, 7, 1, R);
}

Test(pieces, what_is_closed_or_executable_or_gone_is_left_out) {
    uintptr_t memory = pages("w-wxwaw ww");
    range(object(1), memory, 0, 10);
    cr_assert_eq(ia2_pieces_make(pieces, ROOM), 5);
    check(0, memory, 0, 1, 1, RW);
    check(1, memory, 2, 3, 1, RW);
    check(2, memory, 4, 5, 1, RW);
    check(3, memory, 6, 7, 1, RW);
    check(4, memory, 8, 10, 1, RW);
}

Test(pieces, ranges_with_nothing_in_them_give_none) {
    uintptr_t memory = pages("w---    w");
    range(object(1), memory, 1, 4);
    range(object(1), memory, 4, 8);
    cr_expect_eq(ia2_pieces_make(pieces, ROOM), 0);
}

Test(pieces, shared_objects_and_free_slots_have_none) {
    uintptr_t memory = pages("wwwwww");
    range(object(0), memory, 0, 1);
    range(object(3), memory, 2, 3);
    range(object(3), memory, 4, 5);
    objects[3].map = NULL;
    cr_assert_eq(ia2_pieces_make(pieces, ROOM), 1);
    check(0, memory, 2, 3, 2, RW);
}

Test(pieces, neighbours_in_one_mapping_stay_apart) {
    uintptr_t memory = pages("wwww");
    range(object(2), memory, 2, 4);
    range(object(1), memory, 0, 2);
    cr_assert_eq(ia2_pieces_make(pieces, ROOM), 2);
    check(0, memory, 0, 2, 2, RW);
    check(1, memory, 2, 4, 1, RW);
}

Test(pieces, mappings_that_the_kernel_keeps_apart_give_one_piece) {
    uintptr_t memory = pages("ww");
    /* A file mapping beside an anonymous one, as .data and .bss are. */
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    cr_assert_eq(ftruncate(fileno(file), PAGE), 0);
    cr_assert_neq(mmap((void *)memory, PAGE, RW, MAP_PRIVATE | MAP_FIXED, fileno(file), 0), MAP_FAILED);
    range(object(1), memory, 0, 2);
    cr_assert_eq(ia2_pieces_make(pieces, ROOM), 1);
    check(0, memory, 0, 2, 1, RW);
}

/* Many objects in an order of no kind, two ranges each: sorted, complete, and every address finds its piece and no other does. */
Test(pieces, all_are_sorted_and_found_by_address) {
    static char letters[5 * OBJECTS + 1];
    static uint32_t order[OBJECTS];
    for (uint32_t i = 0; i < OBJECTS; i++) {
        memcpy(letters + 5 * i, "wr-w ", 5);
        order[i] = i;
    }
    uintptr_t memory = pages(letters);
    srand(2026);
    for (uint32_t i = OBJECTS; i-- > 1;) {
        const uint32_t other = (uint32_t)rand() % (i + 1);
        const uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    static struct ia2_piece many[3 * OBJECTS];
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct ia2_object *made = object((uint16_t)(1 + i % 7));
        range(made, memory, 5 * order[i], 5 * order[i] + 2);
        range(made, memory, 5 * order[i] + 3, 5 * order[i] + 5);
    }
    cr_assert_eq(ia2_pieces_make(many, 3 * OBJECTS), 3 * OBJECTS);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        cr_assert_eq(many[3 * i].start, memory + 5 * i * PAGE);
        cr_assert_eq(many[3 * i + 1].start, memory + (5 * i + 1) * PAGE);
        cr_assert_eq(many[3 * i + 2].start, memory + (5 * i + 3) * PAGE);
        for (uintptr_t page = 0; page < 5; page++) {
            const struct ia2_piece *wanted = page < 2 ? &many[3 * i + page] : page == 3 ? &many[3 * i + 2] : NULL;
            const uintptr_t address = memory + (5 * i + page) * PAGE;
            cr_assert_eq(ia2_piece_at(many, 3 * OBJECTS, address), wanted);
            cr_assert_eq(ia2_piece_at(many, 3 * OBJECTS, address + PAGE - 1), wanted);
        }
    }
    cr_expect_null(ia2_piece_at(many, 3 * OBJECTS, 0));
    cr_expect_null(ia2_piece_at(many, 3 * OBJECTS, memory - 1));
    cr_expect_null(ia2_piece_at(many, 3 * OBJECTS, UINTPTR_MAX));
    cr_expect_null(ia2_piece_at(many, 0, memory));
}

/* With every room there is: all of them or a larger number, and nothing behind the room is written. */
Test(pieces, they_fit_or_the_number_says_that_they_do_not) {
    uintptr_t memory = pages("wrwrwrwr wr");
    range(object(1), memory, 9, 11);
    range(object(2), memory, 0, 4);
    range(object(3), memory, 4, 9);
    for (uint32_t room = 0; room <= 20; room++) {
        memset(pieces, 0xa5, sizeof pieces);
        const uint32_t count = ia2_pieces_make(pieces, room);
        if (room < 10) {
            cr_expect(count > room && count != IA2_PIECES_UNREADABLE, "%u in a room of %u", count, room);
        } else {
            cr_assert_eq(count, 10, "%u in a room of %u", count, room);
            check(0, memory, 0, 1, 2, RW);
            check(9, memory, 10, 11, 1, R);
        }
        for (const unsigned char *at = (const void *)(pieces + room); at < (const unsigned char *)(pieces + ROOM);
             at++) {
            cr_assert_eq(*at, 0xa5);
        }
    }
}
