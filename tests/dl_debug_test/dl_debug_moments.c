/* The Criterion suite `dl_debug`: exit, unload and thread end are told apart; nesting; the end.
 *
 * Scenarios: see README.md. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* ---- moments ---- */

Test(dl_debug, moments_are_told_apart) {
    struct trace *trace = trace_scenario("normal");

    check_moment(trace, "plugin_unloaded_thread_atexit", "thread-end");
    check_moment(trace, "main_pthread_key", "thread-end");
    check_moment(trace, "plugin_unloaded_cxa_atexit", "unload");
    check_moment(trace, "plugin_unloaded_fini_array", "unload");
    check_moment(trace, "plugin_unloaded_fini", "unload");
    check_moment(trace, "plugin_resident_thread_atexit", "exit");
    check_moment(trace, "main_atexit", "exit");
    check_moment(trace, "main_fini", "exit");
    trace_free(trace);
}

/* Position of the object event of plugin_unloaded.so for that moment, from `from` on. */
static size_t find_object(const struct trace *trace, size_t from, const char *file, const char *when) {
    size_t count = json_array_size(trace->events);

    for (size_t i = find_event(trace, from, "object", NULL); i < count; i = find_event(trace, i + 1, "object", NULL)) {
        const json_t *event = event_at(trace, i);

        if (strcmp(base_name(text_of(event, "path")), file) == 0 && strcmp(text_of(event, "when"), when) == 0)
            return i;
    }
    return count;
}

Test(dl_debug, unload_runs_handlers_then_forgets_the_object) {
    struct trace *trace = trace_scenario("dlclose");
    size_t end = json_array_size(trace->events);
    size_t load = find_object(trace, 0, "plugin_unloaded.so", "load");
    size_t handler = find_event(trace, 0, "enter", "plugin_unloaded_cxa_atexit");
    size_t unload = find_object(trace, 0, "plugin_unloaded.so", "unload");

    cr_assert_lt(load, handler);
    cr_assert_lt(handler, unload);
    cr_assert_lt(unload, end);
    for (size_t i = unload; i < end; i++)
        cr_expect(strncmp(function_of(event_at(trace, i)), "plugin_unloaded", 15) != 0, "%s",
                  json_dumps(event_at(trace, i), 0));
    trace_free(trace);
}

Test(dl_debug, pinned_object_is_finalised_at_exit) {
    struct trace *trace = trace_scenario("dlclose-pinned");

    cr_expect_eq(find_object(trace, 0, "plugin_unloaded.so", "unload"), json_array_size(trace->events));
    check_moment(trace, "plugin_unloaded_thread_atexit", "exit");
    check_moment(trace, "plugin_unloaded_atexit", "exit");
    check_moment(trace, "plugin_unloaded_fini", "exit");
    trace_free(trace);
}

Test(dl_debug, reloaded_object_has_records_of_its_own) {
    struct trace *trace = trace_scenario("reload");
    size_t first = find_object(trace, 0, "plugin_unloaded.so", "load");
    size_t second = find_object(trace, first + 1, "plugin_unloaded.so", "load");
    size_t handler = find_event(trace, second, "enter", "plugin_unloaded_cxa_atexit");

    cr_assert_lt(second, json_array_size(trace->events));
    cr_expect_neq(address_of(event_at(trace, first), "base"), address_of(event_at(trace, second), "base"));
    cr_expect_eq(count_events(trace, "enter", "plugin_unloaded_cxa_atexit"), 2);
    cr_assert_lt(handler, json_array_size(trace->events));
    check_enter(trace, event_at(trace, handler), &expected_objects[4], "cxa_atexit");
    cr_expect_str_eq(text_of(event_at(trace, handler), "moment"), "exit");
    trace_free(trace);
}

/* ---- nesting ---- */

Test(dl_debug, handler_that_exits_never_leaves) {
    struct trace *trace = trace_scenario("exit-in-handler");
    size_t position = find_event(trace, 0, "enter", "exiting_handler");

    cr_assert_eq(trace->status, 5);
    cr_assert_lt(position, json_array_size(trace->events));
    cr_expect_null(leave_of(trace, event_at(trace, position)));
    position = find_event(trace, position + 1, "enter", NULL);
    cr_expect_eq(number_of(event_at(trace, position), "depth"), 1, "runs inside the handler that called exit");
    cr_expect_eq(count_lines(trace, "run kind=on_exit function=main_on_exit status=5"), 1);
    trace_free(trace);
}

Test(dl_debug, handler_that_unloads_is_one_level_up) {
    struct trace *trace = trace_scenario("dlclose-in-handler");
    size_t outer = find_event(trace, 0, "enter", "unloading_handler");
    size_t inner = find_event(trace, 0, "enter", "plugin_unloaded_fini_array");

    cr_assert_lt(outer, inner);
    cr_assert_lt(inner, json_array_size(trace->events));
    cr_expect_eq(number_of(event_at(trace, outer), "depth"), 0);
    cr_expect_eq(number_of(event_at(trace, inner), "depth"), 1);
    check_moment(trace, "plugin_unloaded_fini_array", "unload");
    check_moment(trace, "plugin_unloaded_atexit", "unload");
    trace_free(trace);
}

/* ---- the end ---- */

/* Runs all scenarios: the status is the program's own, and what stdio held back still comes out. */
Test(dl_debug, status_and_stdio_pass_through) {
    FILE *list = popen(DL_DEBUG_PROGRAM " --list", "r");
    char name[64];
    char expected[128];
    int status;
    size_t count = 0;

    cr_assert_not_null(list);
    while (fscanf(list, "%63[^\t]\t%d\t%*[^\n]\n", name, &status) == 2) {
        struct trace *trace = trace_scenario(name);

        snprintf(expected, sizeof expected, "scenario %s: flushed after the last destructor\n", name);
        cr_expect_eq(trace->status, status, "%s: status %d, expected %d", name, trace->status, status);
        cr_expect_str_eq(trace->output, expected, "%s", name);
        trace_free(trace);
        count++;
    }
    cr_assert_geq(count, 10);
    cr_assert_eq(pclose(list), 0);
}

Test(dl_debug, nothing_runs_at_underscore_exit_and_abort) {
    static const char *const scenarios[] = {"underscore-exit", "abort"};

    for (size_t i = 0; i < 2; i++) {
        struct trace *trace = trace_scenario(scenarios[i]);
        size_t position = 0;
        size_t count = json_array_size(trace->events);

        while ((position = find_event(trace, position, "enter", NULL)) < count)
            cr_expect_str_neq(text_of(event_at(trace, position++), "moment"), "exit", "%s", scenarios[i]);
        trace_free(trace);
    }
}

Test(dl_debug, counters_add_up) {
    struct trace *trace = trace_scenario("normal");
    size_t position = find_event(trace, 0, "counters", NULL);
    const json_t *counters = event_at(trace, position);
    long sum = 0;

    cr_assert_not_null(counters);
    cr_assert_eq(position + 2, json_array_size(trace->events), "counters, then end, and nothing more");
    cr_assert_str_eq(text_of(event_at(trace, position + 1), "event"), "end");
    cr_expect_eq(number_of(event_at(trace, position + 1), "status"), 0);
    cr_expect_eq(number_of(counters, "ran"), (long)count_events(trace, "enter", NULL));
    cr_expect_eq(number_of(counters, "registered"), (long)count_events(trace, "register", NULL));
    sum += number_of(counters, "success") + number_of(counters, "fallback") + number_of(counters, "violation");
    sum += number_of(counters, "contained") + number_of(counters, "unenforced") + number_of(counters, "bypassed");
    cr_expect_eq(sum + number_of(counters, "unfinished"), number_of(counters, "ran"));
    cr_expect_eq(number_of(counters, "lost"), 0);
    cr_expect_eq(count_events(trace, "fault", NULL), 0);
    trace_free(trace);
}

Test(dl_debug, start_names_program_and_map) {
    struct trace *trace = trace_scenario("underscore-exit");
    const json_t *start = event_at(trace, 0);

    cr_assert_str_eq(text_of(start, "event"), "start");
    cr_expect_str_eq(base_name(text_of(start, "program")), "dl_debug_test");
    cr_expect_str_eq(text_of(start, "map"), DL_DEBUG_MAP_BINARY);
    cr_expect_str_eq(text_of(start, "backend"), "none");
    cr_expect(flag_of(start, "virtual"));
    cr_expect(!flag_of(start, "forked"));
    trace_free(trace);
}
