/* Reading memory that may be closed. */
#include "peek.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGE = 4096 };

TestSuite(peek, .timeout = 30);

/* Three pages, filled; the middle one with this protection. */
static char *three_pages(int protection) {
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(pages, MAP_FAILED);
    for (size_t i = 0; i < 3 * PAGE; i++) {
        pages[i] = (char)(i * 7 + i / PAGE);
    }
    cr_assert_eq(mprotect(pages + PAGE, PAGE, protection), 0);
    return pages;
}

static void check(const char *pages, size_t from, size_t size) {
    static char to[3 * PAGE];
    cr_assert_leq(size, sizeof to);
    cr_assert(ia2_peek(to, (uintptr_t)pages + from, size), "%zu bytes at %zu", size, from);
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(to[i], (char)((from + i) * 7 + (from + i) / PAGE), "byte %zu", from + i);
    }
}

Test(peek, open_memory_is_read) {
    static const char text[] = "some text";
    char to[sizeof text] = "";
    cr_expect(ia2_peek(to, (uintptr_t)text, sizeof text));
    cr_expect_str_eq(to, text);
    cr_expect(ia2_peek(to, (uintptr_t)text, 0), "nothing can always be read");
}

Test(peek, closed_memory_is_read_and_stays_closed) {
    static const int closed[] = {PROT_NONE, PROT_WRITE, PROT_EXEC};
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        const char *pages = three_pages(closed[i]);
        check(pages, PAGE, 1);
        check(pages, PAGE + 1000, 100);
        check(pages, PAGE - 8, 16);
        check(pages, 2 * PAGE - 8, 16);
        check(pages, 0, 3 * PAGE);
    }
}

static sigjmp_buf before_touch;
static void leave(int number) { siglongjmp(before_touch, number); }

Test(peek, closed_memory_still_faults_after_a_look) {
    volatile char *pages = three_pages(PROT_NONE);
    check((const char *)pages, PAGE, 8);
    cr_assert_neq(signal(SIGSEGV, leave), SIG_ERR);
    if (sigsetjmp(before_touch, 1) == 0) {
        (void)pages[PAGE];
        cr_assert_fail("the page is open");
    }
}

Test(peek, memory_that_is_not_there_is_refused) {
    char to[16];
    char *pages = three_pages(PROT_READ);
    cr_assert_eq(munmap(pages + PAGE, PAGE), 0);
    errno = 4711;
    cr_expect_not(ia2_peek(to, (uintptr_t)pages + PAGE, 1));
    cr_expect_not(ia2_peek(to, (uintptr_t)pages + PAGE - 8, 16), "the second half is missing");
    cr_expect_not(ia2_peek(to, (uintptr_t)pages + 2 * PAGE - 8, 16), "the first half is missing");
    cr_expect_not(ia2_peek(to, 0, 1));
    cr_expect_not(ia2_peek(to, 8, 1));
    cr_expect_not(ia2_peek(to, 0x8000000000000000u, 1), "not canonical, or the kernel's");
    cr_expect_not(ia2_peek(to, UINTPTR_MAX - 15, 16));
    cr_expect_not(ia2_peek(to, UINTPTR_MAX, 16));
    cr_expect_eq(errno, 4711);
}

Test(peek, no_descriptor_is_left_open) {
    const char *pages = three_pages(PROT_NONE);
    char to[16];
    int before = dup(0);
    cr_assert_geq(before, 0);
    close(before);
    for (int i = 0; i < 3; i++) {
        check(pages, PAGE, 8);
        cr_expect_not(ia2_peek(to, 8, 8));
    }
    int after = dup(0);
    cr_expect_eq(after, before);
}

Test(peek, without_a_free_descriptor_open_memory_is_read_all_the_same) {
    const char *pages = three_pages(PROT_NONE);
    char to[8];
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {0, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    const bool open = ia2_peek(to, (uintptr_t)pages, 8);
    const bool closed = ia2_peek(to, (uintptr_t)pages + PAGE, 8);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0); /* the test's own frame needs them */
    cr_expect(open);
    cr_expect_not(closed, "that takes a descriptor");
}
