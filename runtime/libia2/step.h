/* Letting one instruction touch closed memory: its page is opened, the trap flag is set, and the page closes at SIGTRAP. */
#ifndef IA2_STEP_H
#define IA2_STEP_H

#include <stdbool.h>
#include <ucontext.h>

#include "pieces.h"
#include "thread.h"

/* Returns false where that is not possible: too many pages for one instruction. */
bool ia2_step_over(ucontext_t *context, const struct ia2_piece *piece, uintptr_t address, uint32_t key_bits);

/* The protection with which the page at `address` was opened for the running destructor, 0: it was not (violation.c). */
int ia2_opened_with(const struct ia2_thread *thread, uintptr_t address);

#endif
