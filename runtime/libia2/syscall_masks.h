/* System calls that wait with a signal mask of their own: sigsuspend, ppoll and the like. */
#ifndef IA2_SYSCALL_MASKS_H
#define IA2_SYSCALL_MASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "syscall_args.h"

/* How pselect6 and io_pgetevents take it (the first 16 bytes, `rest` 0), and io_uring_enter (all of it). */
struct ia2_masked_pair {
    uint64_t mask;
    uint32_t size;
    uint32_t rest;
    uint64_t timeout;
};

struct ia2_masked {
    struct ia2_call call;
    uint64_t mask;
    struct ia2_masked_pair pair;
};

enum ia2_masking {
    IA2_MASK_AS_IS,  /* the call has no mask, or none that the kernel would take */
    IA2_MASK_COPIED, /* perform `masked->call`: the same with a mask that leaves IA2_FORCED_SIGNALS alone */
    IA2_MASK_CLOSED, /* the mask lies in closed memory: EFAULT */
};
enum ia2_masking ia2_mask_filter(const struct ia2_call *call, struct ia2_masked *masked);

#endif
