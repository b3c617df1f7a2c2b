/* The frames of interrupted code that an event has room for: the innermost and the outermost, and how many lie between. */
#ifndef IA2_STACK_H
#define IA2_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define IA2_STACK_MAX 64u /* what fits in an event, as a rule */
#define IA2_STACK_OUTER                                                                                                \
    24u /* so many of them are the outermost, where there are more: a destructor and what called it */

struct ia2_stack {
    size_t count, inner;                /* all that are here; so many from inside, then comes the gap */
    uint64_t left_out;                  /* frames in the gap */
    bool alike;                         /* all of those are of the function of the last one before the gap */
    uintptr_t frames[IA2_STACK_MAX];    /* code addresses, innermost first (unwind.h) */
    uintptr_t functions[IA2_STACK_MAX]; /* where their functions begin; 0: not known */
};

/* Any time, signal handlers; work bounded by ia2_unwind_each(). */
void ia2_stack_take(struct ia2_stack *stack, const ucontext_t *context);
/* Leaves out the innermost frame. */
void ia2_stack_drop_first(struct ia2_stack *stack);
/* Leaves out more, around the gap or in the middle, until there are no more than `count`. */
void ia2_stack_shorten(struct ia2_stack *stack, size_t count);

#endif
