/* The Criterion suite `dl_debug`: every transition of PKRU, under every backend; `ninja dl_debug_exit_phase2`.
 *
 * What each destructor may touch is worked out here from its registration, and compared with what the runtime says (before,
 * wanted, after, owner, outcome) and with what the kernel says to the destructor itself while it runs (rights.h). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "transitions.h"

/* The program ends as it does without us, and nothing was touched that must not be. */
static void check_undisturbed(const struct trace *trace, const struct trace *vanilla, const char *scenario) {
    cr_expect_eq(trace->status, vanilla->status, "%s: status %d, expected %d", scenario, trace->status,
                 vanilla->status);
    cr_expect_str_eq(trace->log, vanilla->log, "%s", scenario);
    cr_expect_str_eq(trace->output, vanilla->output, "%s", scenario);
    cr_expect_eq(count_events(trace, "violation", NULL), 0, "%s", scenario);
    cr_expect_eq(count_events(trace, "fault", NULL), 0, "%s", scenario);
}

static void check_scenario_as(const char *scenario, struct way way) {
    struct trace *vanilla = trace_scenario(scenario);
    struct trace *trace = trace_program_as(DL_DEBUG_PROGRAM, scenario, way);

    check_undisturbed(trace, vanilla, scenario);
    cr_expect_str_eq(text_of(event_at(trace, 0), "backend"), way.backend);
    cr_expect_str_eq(text_of(event_at(trace, 0), "mode"), way.mode);
    cr_expect_eq(flag_of(event_at(trace, 0), "virtual"), strcmp(way.backend, "pku") != 0);
    check_transitions(trace, way.backend);
    check_rights(trace, way.backend);
    trace_free(trace);
    trace_free(vanilla);
}

static void check_scenario(const char *scenario) {
    for (const char *const *backend = backends(); *backend != NULL; backend++) {
        check_scenario_as(scenario, (struct way){.backend = *backend, .mode = "observe"});
        if (strcmp(*backend, "none") != 0) {
            check_scenario_as(scenario, (struct way){.backend = *backend, .mode = "enforce"});
            check_scenario_as(scenario, (struct way){.backend = *backend, .mode = "contain"});
        }
    }
}

Test(dl_debug, transitions_of_mixed_handlers) { check_scenario("mixed"); }

Test(dl_debug, transitions_of_exit) {
    check_scenario("normal");
    check_scenario("exit-in-handler");
    check_scenario("errx");
}

Test(dl_debug, transitions_of_quick_exit) { check_scenario("quick-exit"); }

Test(dl_debug, transitions_of_crossed_registrations) { check_scenario("crossed"); }

Test(dl_debug, transitions_of_thread_ends) {
    check_scenario("thread-end");
    check_scenario("thread-exit");
    check_scenario("last-thread");
}

Test(dl_debug, transitions_of_unloading) {
    check_scenario("dlclose");
    check_scenario("dlclose-pinned");
    check_scenario("dlclose-in-handler");
    check_scenario("reload");
}

/* ---- that these scenarios are worth looking at ---- */

static bool ran(const struct trace *trace, const char *kind, long owner) {
    for (size_t i = find_event(trace, 0, "enter", NULL); i < json_array_size(trace->events);
         i = find_event(trace, i + 1, "enter", NULL))
        if (strcmp(text_of(event_at(trace, i), "kind"), kind) == 0 && number_of(event_at(trace, i), "owner") == owner)
            return true;
    return false;
}

static bool any_enter(const struct trace *trace, bool (*is)(const json_t *)) {
    for (size_t i = find_event(trace, 0, "enter", NULL); i < json_array_size(trace->events);
         i = find_event(trace, i + 1, "enter", NULL))
        if (is(event_at(trace, i)))
            return true;
    return false;
}

static bool is_vague(const json_t *enter) { return flag_of(enter, "vague"); }
static bool is_foreign(const json_t *enter) { return flag_of(enter, "foreign"); }
static bool is_unknown(const json_t *enter) { return json_is_null(json_object_get(enter, "owner")); }
static bool is_nested(const json_t *enter) { return number_of(enter, "depth") > 0; }
static bool is_nested_unload(const json_t *enter) {
    return is_nested(enter) && strcmp(text_of(enter, "moment"), "unload") == 0;
}

Test(dl_debug, transitions_cover_every_kind_and_case) {
    struct trace *mixed = trace_scenario("mixed");
    struct trace *quick = trace_scenario("quick-exit");

    for (unsigned i = 0; i < expected_kind_count; i++)
        for (long owner = 1; owner <= 3; owner++)
            cr_expect(ran(mixed, expected_kinds[i].kind, owner) || ran(quick, expected_kinds[i].kind, owner),
                      "no %s of compartment %ld", expected_kinds[i].kind, owner);
    cr_expect(any_enter(mixed, is_vague));
    cr_expect(any_enter(mixed, is_foreign));
    cr_expect(any_enter(mixed, is_unknown));
    cr_expect(any_enter(mixed, is_nested));
    cr_expect(any_enter(mixed, is_nested_unload));
    trace_free(mixed);
    trace_free(quick);
}

/* ---- a store from each compartment into each other one ---- */

static void check_stray(long from, long to, struct way way) {
    char pair[16];
    struct trace *trace;
    size_t position;

    snprintf(pair, sizeof pair, "%ld-%ld", from, to);
    trace = trace_program_as(DL_DEBUG_STRAY, pair, way);
    position = find_event(trace, 0, "violation", NULL);
    if (from == to || strcmp(way.backend, "none") == 0) {
        cr_expect_eq(trace->status, 0, "%s under %s: status %d", pair, way.backend, trace->status);
        cr_expect_eq(position, json_array_size(trace->events), "%s under %s", pair, way.backend);
    } else {
        const json_t *violation = event_at(trace, position);

        cr_expect_eq(trace->status, -11, "%s under %s: status %d", pair, way.backend, trace->status);
        cr_assert_not_null(violation, "%s under %s: not noticed", pair, way.backend);
        cr_expect_eq(number_of(json_object_get(violation, "destructor"), "owner"), from, "%s", pair);
        cr_expect_eq(number_of(violation, "victim"), to, "%s", pair);
        cr_expect_str_eq(text_of(violation, "access"), "write", "%s", pair);
    }
    trace_free(trace);
}

Test(dl_debug, transitions_leave_no_way_for_a_stray_store) {
    for (const char *const *backend = backends(); *backend != NULL; backend++)
        for (long from = 1; from <= 5; from++)
            for (long to = 1; to <= 3; to++)
                check_stray(
                    from, to,
                    (struct way){.backend = *backend, .mode = strcmp(*backend, "none") == 0 ? "observe" : "enforce"});
}
