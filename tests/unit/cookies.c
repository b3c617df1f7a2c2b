/* What is kept of fopencookie() streams: numbers that come back, wild numbers, places that are used again. */
#include "cookies.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "sealed.h"

#define MOST 65536u

TestSuite(cookies, .timeout = 50);

static struct ia2_cookie make(uintptr_t tag) {
    return (struct ia2_cookie){.functions = {tag, tag + 1, tag + 2, tag + 3}, .cookie = (void *)tag, .caller = 5};
}

static ia2_cookie_number keep(uintptr_t tag) {
    const struct ia2_cookie cookie = make(tag);
    return ia2_cookie_keep(&cookie);
}

static void expect(ia2_cookie_number number, uintptr_t tag) {
    struct ia2_cookie found = {0};
    const struct ia2_cookie wanted = make(tag);
    cr_expect(ia2_cookie_find(number, &found));
    cr_expect_arr_eq(found.functions, wanted.functions, sizeof wanted.functions);
    cr_expect_eq(found.cookie, wanted.cookie);
    cr_expect_eq(found.caller, wanted.caller);
}

Test(cookies, without_a_stream_nothing_is_found) {
    struct ia2_cookie found;
    cr_expect_not(ia2_cookie_find(0, &found));
    cr_expect_not(ia2_cookie_find(1, &found));
    cr_expect_not(ia2_cookie_find(UINT64_MAX, &found));
    ia2_cookie_forget(0);
    ia2_cookie_forget(1);
    ia2_cookie_forget(UINT64_MAX);
    expect(keep(7), 7);
}

Test(cookies, a_number_stands_for_what_was_kept) {
    ia2_cookie_number first = keep(100);
    ia2_cookie_number second = keep(200);
    cr_expect_neq(first, 0);
    cr_expect_neq(first, second);
    expect(first, 100);
    expect(second, 200);
}

Test(cookies, wild_numbers_stand_for_nothing) {
    struct ia2_cookie found;
    ia2_cookie_number number = keep(100);
    const uint64_t wild[] = {number + 1,         number - 1,        number | 1ul << 32,
                             number | 1ul << 63, number | 1u << 31, number | 0xffffu << 16,
                             number << 32};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        cr_expect_not(ia2_cookie_find(wild[i], &found), "%#lx", wild[i]);
        ia2_cookie_forget(wild[i]);
    }
    expect(number, 100);
}

Test(cookies, a_place_is_used_again_under_another_number) {
    struct ia2_cookie found;
    ia2_cookie_number old = keep(100);
    ia2_cookie_forget(old);
    cr_expect_not(ia2_cookie_find(old, &found));
    ia2_cookie_forget(old);
    ia2_cookie_number fresh = keep(200);
    cr_expect_eq((uint32_t)fresh, (uint32_t)old, "the same place");
    cr_expect_neq(fresh, old);
    cr_expect_not(ia2_cookie_find(old, &found));
    ia2_cookie_forget(old);
    expect(fresh, 200);
    cr_expect_neq((uint32_t)keep(300), (uint32_t)old, "it was free once only");
}

Test(cookies, there_is_room_for_many_and_then_none) {
    static ia2_cookie_number numbers[MOST];
    for (uintptr_t i = 0; i < MOST; i++) {
        numbers[i] = keep(i);
        cr_assert_neq(numbers[i], 0, "number %lu", i);
    }
    cr_expect_eq(keep(1), 0);
    for (uintptr_t i = 0; i < MOST; i += 997) {
        expect(numbers[i], i);
    }
    ia2_cookie_forget(numbers[4711]);
    expect(keep(1), 1);
    cr_expect_eq(keep(2), 0);
}

static void *open_and_close(void *argument) {
    uintptr_t tag = (uintptr_t)argument;
    for (uintptr_t i = 0; i < 20000; i++) {
        ia2_cookie_number one = keep(tag + i);
        ia2_cookie_number other = keep(tag + i + 1);
        expect(one, tag + i);
        ia2_cookie_forget(one);
        expect(other, tag + i + 1);
        ia2_cookie_forget(other);
    }
    return NULL;
}

Test(cookies, threads_do_not_get_each_others) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, (void *)(i << 32)), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_expect_leq((uint32_t)keep(1), 9, "no place was lost");
}
