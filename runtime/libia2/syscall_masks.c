#include "syscall_masks.h"

#include <signal.h>
#include <sys/syscall.h>

#include "guest.h"
#include "peek.h"
#include "syscall_perform.h"

/* The argument with the mask and that with its size; 0 where the call has none. In pselect6 and io_pgetevents one argument points to
 * both. */
static bool place_of(long number, int *mask, int *size) {
    switch (number) {
    case SYS_rt_sigsuspend:
        *mask = 0, *size = 1;
        return true;
    case SYS_ppoll:
        *mask = 3, *size = 4;
        return true;
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        *mask = 4, *size = 5;
        return true;
    case SYS_pselect6:
    case SYS_io_pgetevents:
        *mask = 5, *size = 5;
        return true;
    default:
        return false;
    }
}

enum ia2_masking ia2_mask_filter(const struct ia2_call *call, struct ia2_masked *masked) {
    int mask;
    int size;
    uintptr_t first;
    if (!place_of(call->number, &mask, &size) || !call->arguments[mask]) {
        return IA2_MASK_AS_IS;
    }
    bool paired = mask == size;
    masked->call = *call;
    masked->pair.mask = (uintptr_t)call->arguments[mask];
    masked->pair.size = (uint64_t)call->arguments[size];
    if (paired) {
        if (ia2_closed_in((uintptr_t)call->arguments[mask], sizeof masked->pair, false, &first)) {
            return IA2_MASK_CLOSED;
        }
        if (!ia2_peek(&masked->pair, (uintptr_t)call->arguments[mask], sizeof masked->pair)) {
            return IA2_MASK_AS_IS;
        }
    }
    if (!masked->pair.mask || masked->pair.size != sizeof masked->mask) {
        return IA2_MASK_AS_IS;
    }
    if (ia2_closed_in(masked->pair.mask, sizeof masked->mask, false, &first)) {
        return IA2_MASK_CLOSED;
    }
    if (!ia2_peek(&masked->mask, masked->pair.mask, sizeof masked->mask)) {
        return IA2_MASK_AS_IS;
    }
    masked->mask &= ~IA2_FORCED_SIGNALS;
    masked->pair.mask = (uintptr_t)&masked->mask;
    masked->call.arguments[mask] = paired ? (long)&masked->pair : (long)&masked->mask;
    return IA2_MASK_COPIED;
}
