#include "stack.h"

#include "unwind.h"

#define INNER (IA2_STACK_MAX - IA2_STACK_OUTER)

/* The outer frames are a ring while more are coming: a new one takes the place of the oldest, which is left out. */
static uintptr_t *keep(void *to, uintptr_t address) {
    struct ia2_stack *stack = to;
    size_t place = stack->count;
    if (stack->count < IA2_STACK_MAX) {
        stack->count++;
    } else {
        place = INNER + stack->left_out % IA2_STACK_OUTER;
        stack->alike = stack->alike && stack->functions[place] == stack->functions[INNER - 1];
        stack->left_out++;
    }
    stack->frames[place] = address;
    stack->functions[place] = 0;
    return &stack->functions[place];
}

static void reverse(uintptr_t *first, size_t count) {
    for (size_t i = 0; i < count / 2; i++) {
        uintptr_t kept = first[i];
        first[i] = first[count - 1 - i];
        first[count - 1 - i] = kept;
    }
}

/* The first `by` elements go to the end. */
static void rotate(uintptr_t *first, size_t count, size_t by) {
    reverse(first, by);
    reverse(first + by, count - by);
    reverse(first, count);
}

void ia2_stack_take(struct ia2_stack *stack, const ucontext_t *context) {
    stack->count = 0;
    stack->left_out = 0;
    stack->alike = true;
    ia2_unwind_each(context, keep, stack);
    stack->inner = stack->left_out > 0 ? INNER : stack->count;
    rotate(stack->frames + INNER, IA2_STACK_OUTER, stack->left_out % IA2_STACK_OUTER);
    rotate(stack->functions + INNER, IA2_STACK_OUTER, stack->left_out % IA2_STACK_OUTER);
}

static void remove_at(struct ia2_stack *stack, size_t place, size_t count) {
    for (size_t i = place; i + count < stack->count; i++) {
        stack->frames[i] = stack->frames[i + count];
        stack->functions[i] = stack->functions[i + count];
    }
    stack->count -= count;
}

void ia2_stack_drop_first(struct ia2_stack *stack) {
    remove_at(stack, 0, 1);
    stack->inner -= stack->inner > 0;
}

void ia2_stack_shorten(struct ia2_stack *stack, size_t count) {
    if (stack->count <= count) {
        return;
    }
    const size_t outer = count * IA2_STACK_OUTER / IA2_STACK_MAX;
    const size_t inner = count - outer;
    const size_t removed = stack->count - count;
    for (size_t i = inner; i < inner + removed; i++) {
        stack->alike = stack->alike && inner > 0 && stack->functions[i] == stack->functions[inner - 1];
    }
    remove_at(stack, inner, removed);
    stack->left_out += removed;
    stack->inner = inner;
}
