/* Which memory a system call hands to the kernel, and which of it is closed. */
#ifndef IA2_SYSCALL_ARGS_H
#define IA2_SYSCALL_ARGS_H

#include <stdbool.h>
#include <stdint.h>

struct ia2_call {
    long number;
    long arguments[6];
};

struct ia2_closed {
    uintptr_t address; /* the first closed byte */
    bool write;        /* the kernel writes there */
    bool known;        /* `write` and the extent are documented for this call, not guessed */
};

/* Finds the first closed byte among what the arguments point to, in the order of the arguments: buffers, strings, iovecs, msghdrs,
 * argument vectors. Any arguments at all: pointers that lead nowhere are passed over. Signal handlers. */
bool ia2_call_closed(const struct ia2_call *call, struct ia2_closed *closed);

#endif
