/* The counters, summed up at the end. */
#include "event_line.h"
#include "events.h"
#include "objects.h"
#include "run.h"

const char *const ia2_outcome_names[IA2_OUTCOMES] = {"success",   "fallback",   "violation",
                                                     "contained", "unenforced", "bypassed"};

static uint64_t value(_Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

static uint64_t runs(uint32_t row, unsigned outcome) {
    return atomic_load_explicit(&ia2_runs[row][outcome], memory_order_relaxed);
}

static uint64_t all_runs(uint32_t row) {
    uint64_t sum = 0;
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        sum += runs(row, outcome);
    }
    return sum;
}

static void put_compartment(struct ia2_sink *sink, uint32_t row) {
    struct ia2_line line;
    ia2_event_begin(&line, "compartment");
    ia2_line_number(&line, "id", row);
    ia2_line_string(&line, "name", ia2_compartment_name((uint16_t)row));
    ia2_line_number(&line, "ran", all_runs(row));
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        ia2_line_number(&line, ia2_outcome_names[outcome], runs(row, outcome));
    }
    ia2_event_send_to(sink, &line);
}

void ia2_event_counters(struct ia2_sink *sink, const struct ia2_census *census) {
    uint64_t total[IA2_OUTCOMES] = {0};
    uint64_t ran = 0;
    for (uint32_t row = 0; row < IA2_OWNERS; row++) {
        uint64_t here = all_runs(row);
        ran += here;
        for (unsigned outcome = 0; here && outcome < IA2_OUTCOMES; outcome++) {
            total[outcome] += runs(row, outcome);
        }
        if (here && row != ia2_owner_row(IA2_NO_OWNER)) {
            put_compartment(sink, row);
        }
    }
    struct ia2_line line;
    ia2_event_begin(&line, "counters");
    ia2_line_number(&line, "registered", census->registered + value(&ia2_counters.registered));
    ia2_line_number(&line, "ran", ran);
    for (unsigned outcome = 0; outcome < IA2_OUTCOMES; outcome++) {
        uint64_t unseen = outcome == IA2_BYPASSED ? value(&ia2_counters.bypassed) : 0;
        ia2_line_number(&line, ia2_outcome_names[outcome], total[outcome] + unseen);
    }
    ia2_line_number(&line, "unknown", value(&ia2_counters.unknown));
    ia2_line_number(&line, "foreign", value(&ia2_counters.foreign));
    ia2_line_number(&line, "vague", value(&ia2_counters.vague));
    ia2_line_number(&line, "bystander", value(&ia2_counters.bystander));
    ia2_line_number(&line, "switches", value(&ia2_counters.switches));
    ia2_line_number(&line, "wrpkru", value(&ia2_counters.wrpkru));
    ia2_line_number(&line, "mprotect", value(&ia2_counters.mprotect));
    ia2_line_number(&line, "out_of_order", value(&ia2_counters.out_of_order));
    ia2_line_number(&line, "left", census->live);
    ia2_line_number(&line, "lost", value(&ia2_counters.lost));
    ia2_event_send_to(sink, &line);
}
