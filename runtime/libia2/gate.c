#include "gate.h"

#include "run.h"
#include "tamper.h"
#include "thread.h"

_Atomic uint64_t ia2_handlers_opened;

uint32_t ia2_gate_open_now(void) {
    uint32_t before = ia2_rdpkru();
    if (!(before & ia2_sealed.runtime_bits)) {
        return before; /* open already: one part of the runtime calls another */
    }
    ia2_pkru_open(before & ~ia2_sealed.runtime_bits);
    ia2_count(&ia2_counters.wrpkru);
    const struct ia2_thread *thread = ia2_self();
    /* While a destructor runs its rights are known; a signal handler may have less, nobody may have more. */
    if (thread->depth && before != thread->pkru && before != IA2_PKRU_INITIAL) {
        ia2_tampered("a destructor changed its rights (PKRU)", NULL);
    }
    return before;
}

void ia2_gate_close_now(uint32_t before) {
    if (!(before & ia2_sealed.runtime_bits)) {
        return;
    }
    struct ia2_thread *thread = ia2_self();
    uint32_t slot = ia2_thread_slot(thread);
    uint32_t value = thread->resting && thread->depth == 0 ? thread->resting_pkru : before;
    if (thread->rests_once) {
        thread->rests_once = thread->resting = false;
    }
    ia2_count(&ia2_counters.wrpkru);
    ia2_sealed.wanted[slot] = value;
    ia2_pkru_close(value, slot);
}
