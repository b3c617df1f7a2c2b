/* The values that PKRU must take from destructor to destructor, and what each destructor may touch. */
#ifndef DL_DEBUG_TRANSITIONS_H
#define DL_DEBUG_TRANSITIONS_H

#include "trace.h"

/* Follows every thread of the trace: before, wanted and after of each destructor, its owner, its outcome, what it gives back. */
void check_transitions(const struct trace *trace, const char *backend);

/* Compares each destructor's rights as the kernel told them to it with what it wanted. */
void check_rights(const struct trace *trace, const char *backend);

#endif
