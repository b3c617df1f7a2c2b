#include "syscall_masks.h"

#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "guest.h"
#include "peek.h"
#include "syscall_perform.h"

#ifndef IORING_ENTER_EXT_ARG /* include/uapi/linux/io_uring.h, Linux 5.11 */
#define IORING_ENTER_EXT_ARG 8
#endif

/* Where a call has its mask. */
struct place {
    int mask, size; /* numbers of arguments */
    size_t
        indirect; /* bytes of the structure that `mask` points to, which begins with the mask's address and size; 0: none */
};

static bool place_of(const struct ia2_call *call, struct place *place) {
    switch (call->number) {
    case SYS_rt_sigsuspend:
        *place = (struct place){0, 1, 0};
        return true;
    case SYS_ppoll:
        *place = (struct place){3, 4, 0};
        return true;
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        *place = (struct place){4, 5, 0};
        return true;
    case SYS_pselect6:
    case SYS_io_pgetevents:
        *place = (struct place){5, 5, 2 * sizeof(uint64_t)};
        return true;
    case SYS_io_uring_enter:
        *place = (struct place){4, 5, call->arguments[3] & IORING_ENTER_EXT_ARG ? sizeof(struct ia2_masked_pair) : 0};
        return true;
    default:
        return false;
    }
}

/* Looks at `size` bytes that the kernel would read. */
static enum ia2_masking copy_in(void *to, uintptr_t from, size_t size) {
    uintptr_t first;
    if (ia2_closed_in(from, size, false, &first)) {
        return IA2_MASK_CLOSED;
    }
    return ia2_peek(to, from, size) ? IA2_MASK_COPIED : IA2_MASK_AS_IS;
}

enum ia2_masking ia2_mask_filter(const struct ia2_call *call, struct ia2_masked *masked) {
    struct place place;
    if (!place_of(call, &place) || !call->arguments[place.mask]) {
        return IA2_MASK_AS_IS;
    }
    masked->call = *call;
    masked->pair.mask = (uintptr_t)call->arguments[place.mask];
    masked->pair.size = (uint32_t)call->arguments[place.size];
    if (place.indirect) {
        enum ia2_masking copied = copy_in(&masked->pair, (uintptr_t)call->arguments[place.mask], place.indirect);
        if (copied != IA2_MASK_COPIED) {
            return copied;
        }
    }
    if (!masked->pair.mask || masked->pair.size != sizeof masked->mask) {
        return IA2_MASK_AS_IS;
    }
    enum ia2_masking copied = copy_in(&masked->mask, masked->pair.mask, sizeof masked->mask);
    if (copied == IA2_MASK_COPIED) {
        masked->mask &= ~IA2_FORCED_SIGNALS;
        masked->pair.mask = (uintptr_t)&masked->mask;
        masked->call.arguments[place.mask] = place.indirect ? (long)&masked->pair : (long)&masked->mask;
    }
    return copied;
}
