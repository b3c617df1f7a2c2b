/* System calls that move bytes between buffers and a file, and say how many they moved. */
#ifndef IA2_SYSCALL_TRANSFER_H
#define IA2_SYSCALL_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "syscall_args.h"

/* The part of a transfer that is still to be done, as a call of its own. */
struct ia2_rest {
    struct ia2_call call;
    uintptr_t next;     /* where its first byte lies */
    bool fills;         /* the kernel would write there */
    uint64_t piece;     /* bytes in this call, where it is less than the whole rest; else 0 */
    struct iovec entry; /* that piece of an iovec: the array of `call` then */
};

/* Can `call` be continued where it stopped? */
bool ia2_is_transfer(const struct ia2_call *call);

/* The rest of transfer `call` after `done` bytes. Returns false when nothing is left. `rest` must stay where it is: its call may
 * point into it. */
bool ia2_transfer_rest(const struct ia2_call *call, uint64_t done, struct ia2_rest *rest);

/* Would reading on now find something, an error or the end included, or would it wait? True for calls that write. */
bool ia2_transfer_ready(const struct ia2_call *call);

/* A call that fails with EFAULT half-way may lose something: a child reaped, a message taken from its queue, an old value not written
 * after the new one was set. */
enum ia2_loss {
    IA2_LOSES_NOTHING,
    IA2_LOSES_BY_FILE, /* it depends on the file: ia2_file_loses() */
    IA2_LOSES,
};
enum ia2_loss ia2_call_loses(long number);
bool ia2_file_loses(const struct ia2_call *call);

#endif
