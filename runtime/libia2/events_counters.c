/* The counters, summed up at the end. */
#include "event_line.h"
#include "events.h"
#include "objects.h"
#include "run.h"
#include "tally.h"

const char *const ia2_outcome_names[IA2_OUTCOMES] = {"success",    "fallback", "violation", "contained",
                                                     "unenforced", "bypassed", "unfinished"};

enum { UNKNOWN, FOREIGN, VAGUE, BYSTANDER, SWITCHES, WRPKRU, MPROTECT, TALLIES };
static const char *const tally_names[TALLIES] = {"unknown",  "foreign", "vague",   "bystander",
                                                 "switches", "wrpkru",  "mprotect"};

struct counts {
    uint64_t ran, outcomes[IA2_OUTCOMES], tallies[TALLIES];
};

static uint64_t value(_Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

static struct counts counts_of(uint32_t row) {
    struct ia2_tally *tally = &ia2_tallies[row];
    struct counts counts = {.tallies = {[FOREIGN] = value(&tally->foreign),
                                        [VAGUE] = value(&tally->vague),
                                        [BYSTANDER] = value(&tally->bystander),
                                        [SWITCHES] = value(&tally->switches),
                                        [WRPKRU] = value(&tally->wrpkru),
                                        [MPROTECT] = value(&tally->mprotect)}};
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        counts.outcomes[outcome] = atomic_load_explicit(&ia2_runs[row][outcome], memory_order_relaxed);
        counts.ran += counts.outcomes[outcome];
    }
    if (row == ia2_owner_row(IA2_NO_OWNER)) { /* and what is done for no compartment */
        counts.outcomes[IA2_BYPASSED] += value(&ia2_counters.bypassed);
        counts.tallies[UNKNOWN] = value(&ia2_counters.unknown);
        counts.tallies[WRPKRU] += value(&ia2_counters.wrpkru) + value(&ia2_handlers_opened);
    }
    return counts;
}

/* Returns whether there was anything to add. */
static bool add(struct counts *total, const struct counts *counts) {
    uint64_t any = counts->ran;
    total->ran += counts->ran;
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        total->outcomes[outcome] += counts->outcomes[outcome];
        any |= counts->outcomes[outcome];
    }
    for (unsigned tally = 0; tally < TALLIES; tally++) {
        total->tallies[tally] += counts->tallies[tally];
        any |= counts->tallies[tally];
    }
    return any != 0;
}

static void put_counts(struct ia2_line *line, const struct counts *counts) {
    ia2_line_number(line, "ran", counts->ran);
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        ia2_line_number(line, ia2_outcome_names[outcome], counts->outcomes[outcome]);
    }
    for (unsigned tally = 0; tally < TALLIES; tally++) {
        ia2_line_number(line, tally_names[tally], counts->tallies[tally]);
    }
}

static void put_compartment(struct ia2_sink *sink, uint32_t row, const struct counts *counts) {
    struct ia2_line line;
    ia2_event_begin(&line, "compartment");
    if (row == ia2_owner_row(IA2_NO_OWNER)) {
        ia2_line_null(&line, "id");
        ia2_line_null(&line, "name");
    } else {
        ia2_line_number(&line, "id", row);
        ia2_line_string(&line, "name", ia2_compartment_name((uint16_t)row));
    }
    put_counts(&line, counts);
    ia2_event_send_to(sink, &line);
}

void ia2_event_counters(struct ia2_sink *sink, const struct ia2_census *census) {
    struct counts total = {0};
    for (uint32_t row = 0; row < IA2_OWNERS; row++) {
        const struct counts counts = counts_of(row);
        if (add(&total, &counts)) {
            put_compartment(sink, row, &counts);
        }
    }
    struct ia2_line line;
    ia2_event_begin(&line, "counters");
    ia2_line_number(&line, "registered", census->registered + value(&ia2_counters.registered));
    put_counts(&line, &total);
    ia2_line_number(&line, "out_of_order", value(&ia2_counters.out_of_order));
    ia2_line_number(&line, "left", census->live);
    ia2_line_number(&line, "lost", value(&ia2_counters.lost));
    ia2_event_send_to(sink, &line);
}
