/* The counters, summed up at the end. */
#include "event_line.h"
#include "run.h"

static uint64_t value(_Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

void ia2_event_counters(struct ia2_sink *sink) {
    struct ia2_line line;
    ia2_event_begin(&line, "counters");
    struct ia2_census census;
    ia2_record_census(&census);
    uint64_t ran = census.ran + value(&ia2_counters.ran);
    uint64_t fallback = value(&ia2_counters.fallback);
    ia2_line_number(&line, "registered", census.registered + value(&ia2_counters.registered));
    ia2_line_number(&line, "ran", ran);
    ia2_line_number(&line, "success", ran - fallback);
    ia2_line_number(&line, "fallback", fallback);
    ia2_line_number(&line, "violation", 0);
    ia2_line_number(&line, "contained", 0);
    ia2_line_number(&line, "unenforced", 0);
    ia2_line_number(&line, "bypassed", value(&ia2_counters.bypassed));
    ia2_line_number(&line, "unknown", value(&ia2_counters.unknown));
    ia2_line_number(&line, "foreign", value(&ia2_counters.foreign));
    ia2_line_number(&line, "vague", value(&ia2_counters.vague));
    ia2_line_number(&line, "bystander", 0);
    ia2_line_number(&line, "left", census.live);
    ia2_line_number(&line, "lost", value(&ia2_counters.lost));
    ia2_event_send_to(sink, &line);
}
