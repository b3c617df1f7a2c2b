/* What is counted for each compartment besides how its destructors fared (ia2_runs, run.h). Relaxed counters, behind an open gate. */
#ifndef IA2_TALLY_H
#define IA2_TALLY_H

#include "run.h"

/* `foreign`, `vague`: registrations, by their owner. `bystander`: by the owner of the memory touched. `switches`: by whose memory was
 * opened. `wrpkru`: of the calls of its destructors; ia2_counters and ia2_handlers_opened have the others. `mprotect`: by the owner of
 * the pages. The last row is nobody's. */
struct ia2_tally {
    _Atomic uint64_t foreign, vague, bystander, switches, wrpkru, mprotect;
};
extern struct ia2_tally ia2_tallies[IA2_OWNERS];

static inline struct ia2_tally *ia2_tally_of(uint16_t compartment) { return &ia2_tallies[ia2_owner_row(compartment)]; }

static inline struct ia2_tally *ia2_tally_of_rights(const struct ia2_rights *rights) {
    return ia2_tally_of(rights->all ? IA2_NO_OWNER : rights->owner);
}

/* Counts what a record says of its registration, or takes that back: before its owner changes, or where it comes to nothing. */
void ia2_tally_registration(const struct exit_record *record);
void ia2_untally_registration(const struct exit_record *record);

#endif
