/* Both ends of a stack that is too long to be told: what is kept, what is counted. The frames are made up. */
#include "stack.h"

#include <criterion/criterion.h>

#include "unwind.h"

enum { OTHER = 1000000 }; /* function of the frames that are not alike */

static unsigned frames, unlike; /* how many there are; which one is of another function (0: none) */

/* The frame number i, from 1, is at i * 16 of function 7. */
void ia2_unwind_each(const ucontext_t *context, ia2_visit *visit, void *to) {
    (void)context;
    for (unsigned i = 1; i <= frames; i++) {
        uintptr_t *function = visit(to, i * 16);
        *function = i == unlike ? OTHER : 7;
    }
}

static struct ia2_stack take(unsigned count, unsigned other) {
    struct ia2_stack stack;
    frames = count;
    unlike = other;
    ia2_stack_take(&stack, NULL);
    return stack;
}

/* The first `inner` frames, a gap, and the others up to the last. */
static void check(const struct ia2_stack *stack, unsigned first) {
    for (unsigned i = 0; i < stack->count; i++) {
        uintptr_t number = i < stack->inner ? first + i : first + i + stack->left_out;
        cr_expect_eq(stack->frames[i], number * 16, "frame %u is %lu", i, stack->frames[i] / 16);
        cr_expect_eq(stack->functions[i], number == unlike ? OTHER : 7);
    }
    cr_expect_eq(first - 1 + stack->count + stack->left_out, frames);
}

Test(stack, a_short_one_is_whole) {
    for (unsigned count = 1; count <= IA2_STACK_MAX; count++) {
        const struct ia2_stack stack = take(count, 0);
        cr_expect_eq(stack.count, count);
        cr_expect_eq(stack.left_out, 0);
        check(&stack, 1);
    }
}

Test(stack, of_a_long_one_both_ends_are_kept) {
    for (unsigned count = IA2_STACK_MAX + 1; count < 5 * IA2_STACK_MAX; count++) {
        const struct ia2_stack stack = take(count, 0);
        cr_expect_eq(stack.count, IA2_STACK_MAX);
        cr_expect_eq(stack.inner, IA2_STACK_MAX - IA2_STACK_OUTER);
        cr_expect(stack.alike);
        check(&stack, 1);
    }
}

Test(stack, one_of_another_function_is_noticed_where_it_is_left_out) {
    for (unsigned other = 1; other <= 200; other++) {
        const struct ia2_stack stack = take(200, other);
        const bool left_out = other > stack.inner && other <= 200 - IA2_STACK_OUTER;
        cr_expect_eq(stack.alike, !left_out && other != stack.inner, "%u", other);
    }
}

Test(stack, without_its_first_frame_it_is_the_same) {
    for (unsigned count = 2; count < 100; count++) {
        struct ia2_stack stack = take(count, 0);
        ia2_stack_drop_first(&stack);
        check(&stack, 2);
    }
}

Test(stack, it_is_shortened_around_its_gap) {
    const unsigned counts[] = {3, 63, 64, 65, 200};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (size_t room = 0; room <= IA2_STACK_MAX; room++) {
            struct ia2_stack stack = take(counts[i], 0);
            const size_t before = stack.count;
            ia2_stack_shorten(&stack, room);
            cr_expect_eq(stack.count, before < room ? before : room);
            check(&stack, 1);
        }
    }
}

Test(stack, what_is_dropped_may_be_of_another_function) {
    for (unsigned other = 1; other <= 64; other++) {
        struct ia2_stack stack = take(64, other);
        ia2_stack_shorten(&stack, 32);
        const bool left_out = other > stack.inner && other <= stack.inner + 32;
        cr_expect_eq(stack.alike, !left_out && other != stack.inner, "%u", other);
    }
}
