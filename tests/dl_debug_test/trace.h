/* Runs the test bed as a child under the runtime and reads what both said about it. For the Criterion suite. */
#ifndef DL_DEBUG_TRACE_H
#define DL_DEBUG_TRACE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* One run. Everything belongs to the trace; trace_free gives it back. */
struct trace {
    int status;     /* exit status, or minus the signal that ended the program */
    json_t *events; /* array of objects, in the order of the file */
    char *log;      /* the program's own lines (log.h) */
    char *rights;   /* what was open to each destructor, by the kernel's account (log.h) */
    char *output;   /* its standard output */
};

/* What is closed, and what a violation leads to. */
struct way {
    const char *backend;
    const char *mode;
    bool audit;   /* with the audit module */
    bool counted; /* counters only (IA2_DIAG_EXIT), no trace */
};

/* Runs a program with tracing to a file and with the exit map: observed, and nothing closed. Fails the test when it cannot. */
struct trace *trace_program(const char *program, const char *argument);
/* The same for `dl_debug_test SCENARIO`. */
struct trace *trace_scenario(const char *scenario);
/* The same with a backend and a mode. */
struct trace *trace_program_as(const char *program, const char *argument, struct way way);

/* The backends that this machine has, `none` first; only pku where DL_DEBUG_BACKENDS says so. Ends with NULL. */
const char *const *backends(void);
void trace_free(struct trace *trace);

/* The build's exit map, read once; it stays. */
const json_t *exit_map(void);

/* Text or number of a field; NULL and -1 where it is null. Fail the test where the field is missing. */
const char *text_of(const json_t *object, const char *field);
long number_of(const json_t *object, const char *field);
bool flag_of(const json_t *object, const char *field);
unsigned long address_of(const json_t *object, const char *field);

/* Last component of a path. */
const char *base_name(const char *path);

/* Linker symbol of the event's function by object and RVA, looked up in the exit map; "?" where the map has none. */
const char *function_of(const json_t *event);

/* Position of the first event of that name at or after `from` whose function is `function` (NULL: any); the number of
 * events when there is none. */
size_t find_event(const struct trace *trace, size_t from, const char *name, const char *function);
const json_t *event_at(const struct trace *trace, size_t position);
size_t count_events(const struct trace *trace, const char *name, const char *function);

/* The register event of the record that `event` (an enter) is about. Fails the test when there is none before it. */
const json_t *registration_of(const struct trace *trace, const json_t *event);
/* The leave event of an enter event, or NULL. */
const json_t *leave_of(const struct trace *trace, const json_t *enter);

/* How many lines of the program's log begin with `beginning`, up to a blank or the end of the line. */
size_t count_lines(const struct trace *trace, const char *beginning);

#endif
