#include "syscall_perform.h"

#include <errno.h>
#include <signal.h>

#include "guest.h"
#include "syscall_masks.h"
#include "syscall_transfer.h"
#include "system.h"

#define PAGE_MASK (~(uintptr_t)4095)
#define MAX_TOUCHES 65536u /* in one system call: the pages of 256 MiB */

__attribute__((weak)) long ia2_syscall_as(const ucontext_t *context, long number, const long arguments[6]) {
    (void)context;
    return ia2_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* What has been asked for on behalf of one call, so that a page that stays closed does not keep us for ever. */
struct touches {
    ucontext_t *context;
    long number;
    uintptr_t page;
    uint32_t on_page, all;
};

enum touched { OPENED, LEFT, GONE };

static enum touched touch(struct touches *touches, const struct ia2_closed *closed) {
    const greg_t here = touches->context->uc_mcontext.gregs[REG_RIP];
    const uintptr_t page = closed->address & PAGE_MASK;
    touches->on_page = page == touches->page ? touches->on_page + 1 : 1;
    touches->page = page;
    if (touches->on_page > 2 || touches->all++ >= MAX_TOUCHES) {
        return LEFT;
    }
    enum ia2_touch answer =
        ia2_touched_by_syscall(touches->context, touches->number, closed->address, closed->write, closed->known);
    if (touches->context->uc_mcontext.gregs[REG_RIP] != here) {
        return GONE;
    }
    return answer == IA2_TOUCH_REPEAT ? OPENED : LEFT;
}

static enum touched touch_all(struct touches *touches, const struct ia2_call *call) {
    struct ia2_closed closed;
    enum touched touched = OPENED;
    while (touched == OPENED && ia2_call_closed(call, &closed)) {
        touched = touch(touches, &closed);
    }
    return touched;
}

bool ia2_syscall_foresee(ucontext_t *context, const struct ia2_call *call, long *result) {
    struct touches touches = {.context = context, .number = call->number};
    *result = -EFAULT;
    return touch_all(&touches, call) == OPENED;
}

static long perform_once(const ucontext_t *context, const struct ia2_call *call) {
    struct ia2_masked masked;
    switch (ia2_mask_filter(call, &masked)) {
    case IA2_MASK_COPIED:
        call = &masked.call;
        break;
    case IA2_MASK_CLOSED:
        return -EFAULT;
    case IA2_MASK_AS_IS:
        break;
    }
    return ia2_syscall_as(context, call->number, call->arguments);
}

/* Does it pay to go on after a short count? A byte that is not closed is not what stopped the kernel; and where it may have
 * run out of input just there, it must not be made to wait. */
static bool goes_on(const struct ia2_call *call, const struct ia2_rest *rest, bool in_pieces) {
    uintptr_t first;
    return (in_pieces || ia2_closed_in(rest->next, 1, rest->fills, &first)) && ia2_transfer_ready(call);
}

/* `result` is that of a first try. Repeats what failed for want of an open page, and goes on with what stopped at one. */
static long go_on(struct touches *touches, const struct ia2_call *call, long result) {
    const bool transfer = ia2_is_transfer(call);
    struct ia2_rest rest = {.call = *call};
    long total = 0;
    for (;;) {
        if (result == -EFAULT) {
            struct ia2_closed closed;
            if (!ia2_call_closed(&rest.call, &closed) || touch(touches, &closed) != OPENED) {
                break;
            }
        } else if (result > 0 && transfer) {
            bool in_pieces = rest.piece && (uint64_t)result == rest.piece;
            total += result;
            if (!ia2_transfer_rest(call, (uint64_t)total, &rest) || !goes_on(call, &rest, in_pieces)) {
                break;
            }
        } else {
            break;
        }
        result = perform_once(touches->context, &rest.call);
    }
    return total ? total : result;
}

/* Must closed memory be seen to before the call, because a failure half-way cannot be made good? */
static bool look_first(const struct ia2_call *call) {
    struct ia2_closed closed;
    enum ia2_loss loss = ia2_call_loses(call->number);
    return loss != IA2_LOSES_NOTHING && ia2_call_closed(call, &closed) && (loss == IA2_LOSES || ia2_file_loses(call));
}

long ia2_syscall_perform(ucontext_t *context, const struct ia2_call *call) {
    struct touches touches = {.context = context, .number = call->number};
    if (look_first(call) && touch_all(&touches, call) == GONE) {
        return -EFAULT;
    }
    long result = perform_once(context, call);
    if (result != -EFAULT && (result <= 0 || !ia2_is_transfer(call))) {
        return result;
    }
    return go_on(&touches, call, result);
}
