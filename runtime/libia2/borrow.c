#include "borrow.h"

#include "backend.h"
#include "gate.h"

uint32_t ia2_borrow(struct ia2_borrowed *borrowed, const struct ia2_rights *rights, uint32_t before) {
    struct ia2_thread *thread = ia2_self();
    *borrowed = (struct ia2_borrowed){
        .done = true, .resting = thread->resting, .before = before, .pkru = thread->pkru, .rights = thread->rights};
    (void)ia2_close_enter(thread, rights); /* where other threads forbid it, all is open already */
    thread->resting = false;
    return ia2_sealed.runtime_bits ? thread->pkru : before;
}

uint32_t ia2_borrow_end(const struct ia2_borrowed *borrowed) {
    struct ia2_thread *thread = ia2_self();
    if (thread->closing) {
        (void)ia2_close_enter(thread, &borrowed->rights);
        thread->resting = borrowed->resting;
    }
    thread->pkru = borrowed->pkru;
    return borrowed->before;
}
