/* The Criterion suite `dl_debug`: objects that are loaded and unloaded ten thousand times, with and without the audit module. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fini_plugin.h"

#define TRACED 200 /* rounds whose events are looked at one by one */

/* Ten thousand, unless an emulated CPU asks for fewer. */
static long rounds(void) {
    const char *asked = getenv("DL_DEBUG_ROUNDS");
    return asked ? atol(asked) : 10000;
}

static const struct way ways[] = {{"none", "observe", false, false},     {"none", "observe", true, false},
                                  {"mprotect", "enforce", false, false}, {"mprotect", "enforce", true, false},
                                  {"pku", "enforce", false, false},      {"pku", "enforce", true, false}};

static bool has(const char *backend) {
    for (const char *const *name = backends(); *name; name++)
        if (strcmp(*name, backend) == 0)
            return true;
    return false;
}

static long pair_of(const json_t *state, const char *name, size_t which) {
    return (long)json_integer_value(json_array_get(json_object_get(state, name), which));
}

static const json_t *only(const struct trace *trace, const char *name) {
    cr_assert_eq(count_events(trace, name, NULL), 1);
    return event_at(trace, find_event(trace, 0, name, NULL));
}

/* What each destructor of all rounds adds up to, besides those of the objects that stay. */
static void check_counters(const struct trace *trace, struct way way, long count) {
    const json_t *counters = only(trace, "counters");
    const long loads = 2 * count;
    long in_plugins = 0;
    for (size_t i = 0; i < json_array_size(trace->events); i++) {
        const json_t *event = event_at(trace, i);
        if (strcmp(text_of(event, "event"), "compartment") == 0 && number_of(event, "id") >= 6) {
            cr_expect_eq(number_of(event, "ran"), count * FINI_DESTRUCTORS);
            cr_expect_eq(number_of(event, "success"), count * FINI_DESTRUCTORS);
            if (strcmp(way.backend, "pku") == 0)
                cr_expect_eq(number_of(event, "wrpkru"), 2 * count * FINI_DESTRUCTORS);
            in_plugins++;
        }
    }
    cr_expect_eq(in_plugins, 2);
    const long stay = number_of(counters, "ran") - loads * FINI_DESTRUCTORS;
    cr_expect(stay > 0 && stay < 50, "%ld", stay);
    cr_expect_eq(number_of(counters, "success"), number_of(counters, "ran"));
    cr_expect_eq(number_of(counters, "registered"), number_of(counters, "ran"));
    const char *const none[] = {"fallback",     "violation", "contained", "unenforced", "bypassed",
                                "unfinished",   "unknown",   "foreign",   "vague",      "bystander",
                                "out_of_order", "left",      "lost"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_expect_eq(number_of(counters, none[i]), 0, "%s: %ld", none[i], number_of(counters, none[i]));
}

static void check_state(const struct trace *trace, long count) {
    json_error_t error;
    json_t *state = json_loads(trace->output, 0, &error);
    cr_assert_not_null(state, "%s", trace->output);
    cr_expect_eq(json_integer_value(json_object_get(state, "counted")), 2 * count * FINI_COUNTED);
    cr_expect_eq(pair_of(state, "mappings", 0), pair_of(state, "mappings", 1), "%s", trace->output);
    cr_expect_eq(pair_of(state, "keys", 0), pair_of(state, "keys", 1), "%s", trace->output);
    cr_expect_leq(pair_of(state, "kib", 1), pair_of(state, "kib", 0) + 16, "%s", trace->output);
    json_decref(state);
}

static void check_way(struct way way) {
    char argument[16];
    const long count = rounds();
    way.counted = true;
    snprintf(argument, sizeof argument, "%ld", count);
    struct trace *trace = trace_program_as(DL_DEBUG_COMPARTMENT_FINI, argument, way);
    cr_assert_eq(trace->status, 0, "%s %s: %s", way.backend, way.audit ? "audited" : "preloaded", trace->output);
    check_counters(trace, way, count);
    check_state(trace, count);
    trace_free(trace);
}

Test(dl_debug, compartment_fini_ten_thousand_times) {
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (has(ways[i].backend))
            check_way(ways[i]);
}

/* Slots and records are used again. */
static void check_slots(struct way way) {
    char argument[16];
    long slots = 0, records = 0, highest_slot = 0, highest_record = 0, first_slots = 0, early = 0, loads = 0;
    snprintf(argument, sizeof argument, "%d", TRACED);
    struct trace *trace = trace_program_as(DL_DEBUG_COMPARTMENT_FINI, argument, way);
    cr_assert_eq(trace->status, 0);
    for (size_t i = 0; i < json_array_size(trace->events); i++) {
        const json_t *event = event_at(trace, i);
        if (strcmp(text_of(event, "event"), "object") == 0) {
            slots = number_of(event, "slot");
            bool at_start = strcmp(text_of(event, "when"), "start") == 0;
            loads += strcmp(text_of(event, "when"), "load") == 0;
            first_slots = at_start && slots > first_slots ? slots : first_slots;
            highest_slot = slots > highest_slot ? slots : highest_slot;
        } else if (strcmp(text_of(event, "event"), "register") == 0) {
            records = number_of(event, "record");
            highest_record = records > highest_record ? records : highest_record;
            early = loads <= 10 ? highest_record : early;
        }
    }
    cr_expect_eq(loads, 2 * TRACED);
    cr_expect_leq(highest_slot, first_slots + 2);
    cr_expect_leq(highest_record, early + FINI_DESTRUCTORS);
    trace_free(trace);
}

Test(dl_debug, compartment_fini_uses_slots_and_records_again) {
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (has(ways[i].backend))
            check_slots(ways[i]);
}
