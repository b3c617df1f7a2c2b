/* The kernel's list of mappings: as text in any portions, by single questions, and while it changes. */
#include "mappings.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGE = 4096, MAX = 4096 };

TestSuite(mappings, .timeout = 50);

struct list {
    struct ia2_mapping items[MAX];
    size_t count, limit;
};

static struct list list;

static bool append(void *argument, uintptr_t start, uintptr_t end, int protection) {
    struct list *to = argument;
    cr_assert_lt(to->count, MAX);
    to->items[to->count++] = (struct ia2_mapping){start, end, protection};
    return to->count != to->limit;
}

/* A walk over text from a file of ours. */
static struct ia2_mappings walk_over(int file) {
    struct ia2_mappings mappings = {0};
    mappings.file = file;
    return mappings;
}

static bool collect(struct ia2_mappings *mappings) {
    struct ia2_mapping found = {0};
    list.count = 0;
    while (ia2_mappings_next(mappings, found.end, &found)) {
        append(&list, found.start, found.end, found.protection);
    }
    return ia2_mappings_close(mappings);
}

/* Text that arrives in two portions, the first of `first` bytes: a read from this socket returns one portion. */
static struct ia2_mappings in_portions(const char *text, size_t first) {
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    const size_t rest = strlen(text) - first;
    cr_assert(first == 0 || write(ends[1], text, first) == (ssize_t)first);
    cr_assert(rest == 0 || write(ends[1], text + first, rest) == (ssize_t)rest);
    close(ends[1]);
    return walk_over(ends[0]);
}

static void check(size_t index, uintptr_t start, uintptr_t end, int protection) {
    cr_assert_lt(index, list.count);
    cr_assert_eq(list.items[index].start, start, "mapping %zu starts at %" PRIxPTR, index, list.items[index].start);
    cr_assert_eq(list.items[index].end, end, "mapping %zu ends at %" PRIxPTR, index, list.items[index].end);
    cr_assert_eq(list.items[index].protection, protection);
}

static const char some[] =
    "00400000-00401000 r--p 00000000 08:01 1234                               /usr/bin/a program with spaces-0 rwxp\n"
    "00401000-00402000 r-xp 00001000 08:01 1234                               /usr/bin/odd\\012name\n"
    "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n"
    "7f0000021000-7f0004000000 ---p 00000000 00:00 0 \n"
    "7ffff7fc1000-7ffff7fc3000 rwxs 00000000 00:00 0                          [vdso]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

Test(mappings, lines_may_be_cut_anywhere) {
    for (size_t first = 0; first <= sizeof some - 1; first++) {
        struct ia2_mappings mappings = in_portions(some, first);
        cr_assert(collect(&mappings), "cut after %zu bytes", first);
        cr_assert_eq(list.count, 6);
        check(0, 0x400000, 0x401000, PROT_READ);
        check(1, 0x401000, 0x402000, PROT_READ | PROT_EXEC);
        check(2, 0x7f0000000000, 0x7f0000021000, PROT_READ | PROT_WRITE);
        check(3, 0x7f0000021000, 0x7f0004000000, PROT_NONE);
        check(4, 0x7ffff7fc1000, 0x7ffff7fc3000, PROT_READ | PROT_WRITE | PROT_EXEC);
        check(5, 0xffffffffff600000, 0xffffffffff601000, PROT_EXEC);
    }
}

Test(mappings, what_comes_twice_or_has_grown_is_told_once) {
    struct ia2_mappings mappings = in_portions("1000-3000 rw-p 0 0 0\n"
                                               "1000-3000 rw-p 0 0 0\n"
                                               "2000-3000 r--p 0 0 0\n"
                                               "1000-2000 r--p 0 0 0\n"
                                               "1000-5000 r--p 0 0 0\n"
                                               "6000-7000 r-xp 0 0 0\n",
                                               0);
    cr_assert(collect(&mappings));
    cr_assert_eq(list.count, 3);
    check(0, 0x1000, 0x3000, PROT_READ | PROT_WRITE);
    check(1, 0x3000, 0x5000, PROT_READ);
    check(2, 0x6000, 0x7000, PROT_READ | PROT_EXEC);
}

Test(mappings, text_of_another_kind_is_a_failure) {
    static const char *const texts[] = {
        "x",
        "\n",
        "1000",
        "1000-",
        "1000-2000",
        "1000-2000 ",
        "1000-2000 rw",
        "1000-2000 rw-p 0 0 0",
        "-2000 rw-p\n",
        "1000-2000 qw-p\n",
        "1000-2000 rqxp\n",
        "1000-2000 rwwp\n",
        "1000 2000 rw-p\n",
        "2000-1000 rw-p\n",
        "1000-1000 rw-p\n",
        "1000-2000\trw-p\n",
        "11112222333344445-11112222333344446 rw-p\n",
        "0x1000-0x2000 rw-p\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ia2_mappings mappings = in_portions(texts[i], 0);
        cr_expect_not(collect(&mappings), "%s", texts[i]);
        cr_expect_eq(list.count, 0, "%s", texts[i]);
    }
    struct ia2_mappings nothing = walk_over(-1);
    cr_expect_not(collect(&nothing), "a file that cannot be read");
}

/* ---- the real list ---- */

/* Eight pages of our own with protections that alternate, so that each is a mapping. */
static uintptr_t own_pages(void) {
    char *memory = mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    for (int i = 0; i < 8; i += 2) {
        cr_assert_eq(mprotect(memory + i * PAGE, PAGE, i % 4 ? PROT_NONE : PROT_READ | PROT_WRITE), 0);
    }
    return (uintptr_t)memory;
}

static int protection_of_own(int page) { return page % 2 ? PROT_READ : page % 4 ? PROT_NONE : PROT_READ | PROT_WRITE; }

Test(mappings, a_walk_tells_what_the_c_library_reads) {
    static struct list expected;
    char line[8192];
    own_pages();
    cr_assert(ia2_mappings_walk(append, &list)); /* before stdio allocates */
    FILE *file = fopen("/proc/self/maps", "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file)) {
        uintptr_t start;
        uintptr_t end;
        char flags[5];
        cr_assert_eq(sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, flags), 3);
        append(&expected, start, end,
               (flags[0] == 'r' ? PROT_READ : 0) | (flags[1] == 'w' ? PROT_WRITE : 0) |
                   (flags[2] == 'x' ? PROT_EXEC : 0));
    }
    fclose(file);
    cr_assert_geq(list.count, 20);
    size_t found = 0;
    for (size_t i = 0; i < expected.count; i++) {
        for (size_t j = 0; j < list.count; j++) {
            found += memcmp(&expected.items[i].start, &list.items[j].start, 2 * sizeof(uintptr_t)) == 0 &&
                     expected.items[i].protection == list.items[j].protection;
        }
    }
    cr_expect_geq(found + 2, expected.count, "%zu of %zu: only the heap may have grown", found, expected.count);
}

Test(mappings, a_walk_ends_when_it_is_told_to) {
    list.limit = 3;
    cr_expect(ia2_mappings_walk(append, &list));
    cr_expect_eq(list.count, 3);
}

/* The same questions to the text and, where the kernel knows PROCMAP_QUERY, to it. */
Test(mappings, questions_and_text_agree) {
    const uintptr_t memory = own_pages();
    struct ia2_mappings by_text;
    struct ia2_mappings by_question;
    struct ia2_mapping found;
    cr_assert(ia2_mappings_open(&by_text));
    by_text.asks = false;
    cr_assert(ia2_mappings_open(&by_question));
    for (int i = 0; i < 8; i++) {
        struct ia2_mappings *both[] = {&by_text, &by_question};
        for (int j = 0; j < 2; j++) {
            const uintptr_t from = memory + (uintptr_t)i * PAGE + (i % 3 ? 0 : PAGE - 1);
            cr_assert(ia2_mappings_next(both[j], from, &found));
            cr_expect_eq(found.start, memory + (uintptr_t)i * PAGE);
            cr_expect_eq(found.end, memory + (uintptr_t)(i + 1) * PAGE);
            cr_expect_eq(found.protection, protection_of_own(i));
            cr_assert(ia2_mappings_next(both[j], from, &found), "the same question again");
            cr_expect_eq(found.start, memory + (uintptr_t)i * PAGE);
        }
    }
    cr_expect_not(ia2_mappings_next(&by_question, UINTPTR_MAX - 1, &found), "nothing is there");
    cr_expect_not(ia2_mappings_next(&by_text, UINTPTR_MAX - 1, &found), "nothing is there");
    cr_expect(ia2_mappings_close(&by_question));
    cr_expect(ia2_mappings_close(&by_text));
}

Test(mappings, a_kernel_that_does_not_answer_is_read) {
    const uintptr_t memory = own_pages();
    struct ia2_mappings mappings = {0};
    struct ia2_mapping found;
    FILE *copy = tmpfile(); /* a file on which PROCMAP_QUERY means nothing */
    cr_assert_not_null(copy);
    fprintf(copy, "1000-2000 r--p 0 0 0\n%" PRIxPTR "-%" PRIxPTR " rw-p 0 0 0\n", memory, memory + PAGE);
    cr_assert_eq(fflush(copy), 0);
    cr_assert_eq(lseek(fileno(copy), 0, SEEK_SET), 0);
    mappings.file = fileno(copy);
    mappings.asks = true;
    cr_assert(ia2_mappings_next(&mappings, memory, &found));
    cr_expect_eq(found.start, memory);
    cr_expect_eq(found.protection, PROT_READ | PROT_WRITE);
    cr_expect_not(mappings.asks);
    cr_expect(ia2_mappings_close(&mappings));
}

Test(mappings, mappings_that_come_and_go_meanwhile_do_no_harm) {
    static uintptr_t made[512];
    uintptr_t last = 0;
    struct ia2_mappings mappings;
    struct ia2_mapping found = {0};
    for (size_t i = 0; i < 512; i++) { /* lines enough for many reads */
        made[i] = (uintptr_t)mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    cr_assert(ia2_mappings_open(&mappings));
    mappings.asks = false;
    for (size_t i = 0; ia2_mappings_next(&mappings, found.end, &found); i++) {
        cr_assert_geq(found.start, last);
        cr_assert_lt(found.start, found.end);
        last = found.end;
        if (i < 512) {
            munmap((void *)made[511 - i], PAGE);
            mmap(NULL, PAGE * (1 + i % 3), i % 2 ? PROT_READ : PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        }
    }
    cr_expect(ia2_mappings_close(&mappings));
}

Test(mappings, without_a_free_descriptor_there_is_no_list) {
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {0, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    const bool walked = ia2_mappings_walk(append, &list);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0); /* the test's own frame needs them */
    cr_expect_not(walked);
    cr_expect_eq(list.count, 0);
}

Test(mappings, no_descriptor_is_left_open) {
    int before = dup(0);
    close(before);
    list.limit = 2;
    cr_assert(ia2_mappings_walk(append, &list));
    int after = dup(0);
    cr_expect_eq(after, before);
}
