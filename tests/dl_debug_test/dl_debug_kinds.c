/* The Criterion suite `dl_debug`: a test for each kind of destructor, and whose rights it gets.
 *
 * Each test runs a scenario as a child and compares the runtime's events with expected.c and with the program's own
 * log. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

TestSuite(dl_debug, .timeout = 60);

static void function_name(char name[128], const struct expected_object *object, const char *suffix) {
    snprintf(name, 128, "%s_%s", object->name, suffix);
}

/* In the whole run the function runs `times` times, and the program's log says so too. */
static void check_function(const struct trace *trace, const struct expected_object *object, const char *kind,
                           const char *suffix, size_t times) {
    char name[128];
    char line[256];
    size_t position = 0;

    function_name(name, object, suffix);
    snprintf(line, sizeof line, "run kind=%s function=%s", kind, name);
    cr_expect_eq(count_events(trace, "enter", name), times, "%s: entered %zu times, expected %zu", name,
                 count_events(trace, "enter", name), times);
    cr_expect_eq(count_lines(trace, line), times, "%s: logged %zu times, expected %zu", name, count_lines(trace, line),
                 times);
    for (size_t i = 0; i < times; i++) {
        position = find_event(trace, position, "enter", name);
        cr_assert_lt(position, json_array_size(trace->events));
        check_enter(trace, event_at(trace, position++), object, kind);
    }
}

/* The same for every object; `outlived` is how often it runs in the object that is unloaded. */
static void check_suffix(const char *scenario, const char *kind, const char *suffix, size_t times, size_t outlived) {
    struct trace *trace = trace_scenario(scenario);

    for (unsigned i = 0; i < expected_object_count; i++)
        check_function(trace, &expected_objects[i], kind, suffix, expected_objects[i].outlived ? outlived : times);
    trace_free(trace);
}

/* ---- a test for each kind ---- */

Test(dl_debug, kind_fini_array) {
    check_suffix("normal", "fini_array", "fini_array", 1, 1);
    check_suffix("normal", "fini_array", "fini_array_101", 1, 1);
    check_suffix("normal", "fini_array", "fini_array_102", 1, 1);
}

Test(dl_debug, kind_fini) { check_suffix("normal", "fini", "fini", 1, 1); }

Test(dl_debug, kind_cxa_atexit) {
    check_suffix("normal", "cxa_atexit", "cxa_atexit", 1, 1);
    check_suffix("normal", "cxa_atexit", "noted", 1, 1);
}

Test(dl_debug, kind_atexit) { check_suffix("normal", "atexit", "atexit", 1, 1); }

Test(dl_debug, kind_on_exit) { check_suffix("normal", "on_exit", "on_exit", 1, 0); }

/* quick_exit runs these and nothing else; those of the unloaded object went with it. */
Test(dl_debug, kind_quick_exit) {
    check_suffix("quick-exit", "quick_exit", "quick_exit", 1, 0);
    check_suffix("quick-exit", "atexit", "atexit", 0, 1);
    check_suffix("quick-exit", "fini_array", "fini_array", 0, 1);
    check_suffix("normal", "quick_exit", "quick_exit", 0, 0);
}

/* Once in the main thread at exit, once in the thread that ended; the plug-ins in one of the two. */
Test(dl_debug, kind_thread_atexit) {
    struct trace *trace = trace_scenario("normal");

    for (unsigned i = 0; i < expected_object_count; i++)
        check_function(trace, &expected_objects[i], "thread_atexit", "thread_atexit",
                       strncmp(expected_objects[i].name, "plugin", 6) == 0 ? 1 : 2);
    trace_free(trace);
}

/* At the end of the thread, never at exit: the resident plug-in's value is set in the main thread only. */
Test(dl_debug, kind_pthread_key) {
    struct trace *trace = trace_scenario("normal");

    for (unsigned i = 0; i < expected_object_count; i++)
        check_function(trace, &expected_objects[i], "pthread_key", "pthread_key",
                       strcmp(expected_objects[i].name, "plugin_resident") == 0 ? 0 : 1);
    trace_free(trace);
}

Test(dl_debug, kind_cxx_statics) {
    struct trace *trace = trace_scenario("normal");
    const struct expected_object *cxx = &expected_objects[2];
    size_t position = find_event(trace, 0, "enter", "_ZN8dl_debug14NamespaceScopeD1Ev");

    cr_assert_str_eq(cxx->name, "library_cxx");
    cr_assert_eq(count_events(trace, "enter", "_ZN8dl_debug14NamespaceScopeD1Ev"), 1);
    check_enter(trace, event_at(trace, position), cxx, "cxa_atexit");
    cr_assert_eq(count_events(trace, "enter", "_ZN8dl_debug13FunctionLocalD1Ev"), 1);
    position = find_event(trace, 0, "enter", "_ZN8dl_debug13FunctionLocalD1Ev");
    check_enter(trace, event_at(trace, position), cxx, "cxa_atexit");
    cr_assert_eq(count_events(trace, "enter", "_ZN8dl_debug11ThreadLocalD1Ev"), 2);
    position = find_event(trace, 0, "enter", "_ZN8dl_debug11ThreadLocalD1Ev");
    check_enter(trace, event_at(trace, position), cxx, "thread_atexit");
    trace_free(trace);
}

/* ---- whose rights ---- */

/* inline_variable.hpp: registered by library_vague, lies in library_cxx. */
Test(dl_debug, vague_linkage_is_said) {
    struct trace *trace = trace_scenario("normal");
    size_t position = find_event(trace, 0, "enter", "_ZN8dl_debug14InlineVariableD1Ev");
    const json_t *enter = event_at(trace, position);

    cr_assert_not_null(enter);
    cr_expect_eq(count_events(trace, "enter", "_ZN8dl_debug14InlineVariableD1Ev"), 1);
    cr_expect(flag_of(enter, "vague"));
    cr_expect_eq(number_of(enter, "owner"), 6);
    cr_expect_str_eq(base_name(text_of(enter, "dso")), "libdl_debug_library_vague.so");
    cr_expect_eq(address_of(enter, "pkru_wanted"), pkru_for(6) & pkru_for(3), "both objects are open");
    trace_free(trace);
}

static void check_crossed(const struct trace *trace, const char *function, long owner, const char *dso) {
    size_t position = find_event(trace, 0, "enter", function);
    const json_t *enter = event_at(trace, position);

    cr_assert_not_null(enter, "%s did not run", function);
    cr_expect_eq(number_of(enter, "owner"), owner, "%s: owner %ld, expected %ld", function, number_of(enter, "owner"),
                 owner);
    if (dso == NULL)
        cr_expect_null(text_of(enter, "dso"), "%s", function);
    else
        cr_expect_str_eq(base_name(text_of(enter, "dso")), dso);
}

/* The owner follows the handle, not the function; without a handle the function; without both the registrar. */
Test(dl_debug, owner_follows_the_handle) {
    struct trace *trace = trace_scenario("crossed");

    check_crossed(trace, "lent_to_library", 2, "libdl_debug_library.so");
    check_crossed(trace, "without_object", 1, NULL);
    check_crossed(trace, "library_borrowed_on_exit", 2, NULL);
    trace_free(trace);
}
