/* The Criterion suite `dl_debug`: the order of the events is the order in which the destructors ran.
 *
 * The program's own log says which that was. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Next line of the log that says that a destructor runs, from *position on: its function, or NULL at the end. */
static const char *next_run(const char **position, char function[256]) {
    for (const char *line = *position; *line != '\0'; line = strchr(line, '\n') + 1)
        if (sscanf(line, "run kind=%*s function=%255[^ \n]", function) == 1) {
            *position = strchr(line, '\n') + 1;
            return function;
        }
    return NULL;
}

/* Every destructor of the test bed's own C code writes a line when it runs: the two sequences are the same. C++ ones
 * log a demangled name: test_log_agrees.py compares those. */
static void check_order(const char *scenario) {
    struct trace *trace = trace_scenario(scenario);
    const char *line = trace->log;
    long last = 0;
    char function[256];
    size_t compared = 0;

    for (size_t i = find_event(trace, 0, "enter", NULL); i < json_array_size(trace->events);
         i = find_event(trace, i + 1, "enter", NULL)) {
        const char *symbol = function_of(event_at(trace, i));

        cr_assert_eq(number_of(event_at(trace, i), "seq"), ++last);
        if (strncmp(symbol, "_Z", 2) == 0 || strcmp(symbol, "__do_global_dtors_aux") == 0 ||
            strcmp(symbol, "_fini") == 0 || strcmp(symbol, "?") == 0)
            continue;
        do
            cr_assert_not_null(next_run(&line, function), "%s: %s ran, but the log ends", scenario, symbol);
        while (strncmp(function, "dl_debug::", 10) == 0);
        cr_assert_str_eq(symbol, function, "%s: event %s, log %s", scenario, symbol, function);
        compared++;
    }
    while (next_run(&line, function) != NULL)
        cr_assert(strncmp(function, "dl_debug::", 10) == 0, "%s: %s ran without an event", scenario, function);
    cr_assert_gt(compared, 0);
    trace_free(trace);
}

Test(dl_debug, order_of_exit) { check_order("normal"); }

Test(dl_debug, order_of_return_from_main) { check_order("return-from-main"); }

Test(dl_debug, order_of_errx) { check_order("errx"); }

Test(dl_debug, order_of_quick_exit) { check_order("quick-exit"); }

Test(dl_debug, order_of_exit_in_handler) { check_order("exit-in-handler"); }

Test(dl_debug, order_of_handlers_that_register) { check_order("register-in-handler"); }

Test(dl_debug, order_of_thread_ends) {
    check_order("thread-end");
    check_order("thread-exit");
    check_order("last-thread");
}

Test(dl_debug, order_of_unloading) {
    check_order("dlclose");
    check_order("dlclose-in-handler");
    check_order("dlclose-pinned");
    check_order("reload");
}
