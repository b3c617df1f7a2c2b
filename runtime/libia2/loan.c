#include "loan.h"

#include "backend.h"
#include "dispatch.h"
#include "frame.h"
#include "gate.h"
#include "guest.h"
#include "run.h"
#include "system.h"

static const struct ia2_rights everything = {.all = true};

struct ia2_loan ia2_loan_begin(void) {
    struct ia2_loan loan = {0};
    if (!ia2_sealed.enforcing) {
        return loan;
    }
    uint32_t before = ia2_gate_open();
    struct ia2_thread *thread = ia2_self();
    if (thread->closing && thread->depth > 0 && thread->pid == (uint32_t)ia2_getpid()) {
        loan.intercepted = ia2_dispatch_intercept(false);
        before = ia2_borrow(&loan.borrowed, &everything, before);
    }
    ia2_gate_close(before);
    return loan;
}

void ia2_loan_end(const struct ia2_loan *loan) {
    if (!loan->borrowed.done) {
        return;
    }
    (void)ia2_gate_open();
    uint32_t before = ia2_borrow_end(&loan->borrowed);
    ia2_dispatch_intercept(loan->intercepted);
    ia2_gate_close(before);
}

/* With keys a child of vfork has its parent's rights, not more: what it executes may have its arguments anywhere. */
static void open_keys(struct ia2_thread *thread, ucontext_t *context) {
    if (thread->closing && thread->depth > 0 && ia2_frame_set_pkru(context, ia2_sealed.runtime_bits)) {
        thread->pkru = ia2_sealed.runtime_bits;
        if (ia2_record_outcome(thread->running) == IA2_SUCCESS) {
            ia2_record_set_outcome(thread->running, IA2_UNENFORCED);
        }
    }
}

/* A child that shares memory is about to run: what is closed is closed to it, too, and its system calls are not dispatched. All is open
 * for the rest of this destructor. */
void ia2_vfork_is_coming(ucontext_t *context) {
    ia2_thread_is_coming();
    if (ia2_sealed.backend == IA2_BACKEND_PKU) {
        open_keys(ia2_self(), context);
    }
}

void ia2_thread_is_coming(void) {
    struct ia2_thread *thread = ia2_self();
    if (ia2_sealed.backend == IA2_BACKEND_MPROTECT && thread->closing) {
        (void)ia2_close_enter(thread, &everything);
        if (thread->running && ia2_record_outcome(thread->running) == IA2_SUCCESS) {
            ia2_record_set_outcome(thread->running, IA2_UNENFORCED);
        }
    }
}
