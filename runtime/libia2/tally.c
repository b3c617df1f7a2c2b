#include "tally.h"

#include "vault.h"

struct ia2_tally ia2_tallies[IA2_OWNERS] IA2_LARGE;

static void add(const struct exit_record *record, uint64_t number) {
    if (record->owner == IA2_NO_OWNER) {
        atomic_fetch_add_explicit(&ia2_counters.unknown, number, memory_order_relaxed);
    }
    if (record->flags & IA2_FOREIGN) {
        atomic_fetch_add_explicit(&ia2_tally_of(record->owner)->foreign, number, memory_order_relaxed);
    }
    if (record->flags & IA2_VAGUE) {
        atomic_fetch_add_explicit(&ia2_tally_of(record->owner)->vague, number, memory_order_relaxed);
    }
}

void ia2_tally_registration(const struct exit_record *record) { add(record, 1); }

void ia2_untally_registration(const struct exit_record *record) { add(record, UINT64_MAX); }
