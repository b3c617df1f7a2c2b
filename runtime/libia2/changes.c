#include "changes.h"

#define KINDS IA2_CHANGES_KINDS

_Atomic uint32_t ia2_changes_told;
static _Atomic uint32_t told[KINDS];
static _Atomic uint64_t moment = 1; /* 0 in a thread: it runs none */

/* The kinds first: who sees that there is something must see what it is. */
void ia2_changes_tell(uint32_t changes) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (changes >> kind & 1) {
            atomic_fetch_add_explicit(&told[kind], 1, memory_order_release);
        }
    }
    atomic_fetch_add_explicit(&ia2_changes_told, 1, memory_order_release);
}

uint32_t ia2_changes_take(struct ia2_thread *thread) {
    uint32_t changes = 0;
    thread->changes_taken = atomic_load_explicit(&ia2_changes_told, memory_order_acquire);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const uint32_t now = atomic_load_explicit(&told[kind], memory_order_acquire);
        changes |= (uint32_t)(now != thread->kinds_taken[kind]) << kind;
        thread->kinds_taken[kind] = now;
    }
    return changes;
}

void ia2_changes_begin_run(struct ia2_thread *thread) {
    /* Sequentially consistent: either ia2_changes_oldest() sees it, or this thread sees that the record is gone. */
    atomic_store(&thread->running_since, atomic_load(&moment));
}

uint64_t ia2_changes_retire(void) { return atomic_fetch_add(&moment, 1); }

uint64_t ia2_changes_oldest(void) { return ia2_threads_running_since(atomic_load(&moment)); }
