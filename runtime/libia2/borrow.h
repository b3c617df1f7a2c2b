/* Other rights for one call: of code that a destructor calls, and that works on somebody else's data. */
#ifndef IA2_BORROW_H
#define IA2_BORROW_H

#include <stdbool.h>
#include <stdint.h>

#include "thread.h"

struct ia2_borrowed {
    bool done;
    bool resting;
    uint32_t before; /* what the gate was opened from */
    uint32_t pkru;
    struct ia2_rights rights;
};

/* Gives the calling thread, for which memory is closed, these rights. Between ia2_gate_open(), which returned `before`, and
 * ia2_gate_close(), which takes what is returned here. */
uint32_t ia2_borrow(struct ia2_borrowed *borrowed, const struct ia2_rights *rights, uint32_t before);
/* Gives it back what it had. Behind a gate, too; returns what that one takes. */
uint32_t ia2_borrow_end(const struct ia2_borrowed *borrowed);

#endif
