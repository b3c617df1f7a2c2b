/* All memory open for one call into libc that starts a program: arguments and environment may lie in anybody's static data. */
#ifndef IA2_LOAN_H
#define IA2_LOAN_H

#include <stdbool.h>

#include "borrow.h"

struct ia2_loan {
    struct ia2_borrowed borrowed;
    bool intercepted;
};

/* Nothing to do outside the destructors of the exit phase, and in a child of vfork(), which must leave its parent's memory alone. */
struct ia2_loan ia2_loan_begin(void);
void ia2_loan_end(const struct ia2_loan *loan);

#endif
