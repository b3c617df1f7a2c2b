#include "trace.h"

#include <cpuid.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- running ---- */

static int memory_file(const char *name) {
    int descriptor = memfd_create(name, 0);

    cr_assert_geq(descriptor, 0, "memfd_create");
    return descriptor;
}

/* What a run writes to. */
struct files {
    int events;
    int log;
    int rights;
    int output;
};

/* The child's side: the descriptors stay open across exec, the runtime and log.c know them by number. */
static void become(const char *program, const char *argument, struct way way, const struct files *files) {
    char trace_value[32];
    char log_value[32];
    char rights_value[32];

    snprintf(trace_value, sizeof trace_value, "fd:%d", files->events);
    snprintf(log_value, sizeof log_value, "%d", files->log);
    snprintf(rights_value, sizeof rights_value, "%d", files->rights);
    setenv(way.counted ? "IA2_DIAG_EXIT" : "IA2_TRACE_EXIT", trace_value, 1);
    unsetenv(way.counted ? "IA2_TRACE_EXIT" : "IA2_DIAG_EXIT");
    if (way.audit) {
        setenv("LD_AUDIT", DL_DEBUG_AUDIT, 1);
        setenv("IA2_EXIT_AUDIT", "1", 1);
    }
    setenv("IA2_EXIT_MAP", DL_DEBUG_MAP_BINARY, 1);
    setenv("IA2_EXIT_BACKEND", way.backend, 1);
    setenv("IA2_EXIT_MODE", way.mode, 1);
    setenv("DL_DEBUG_LOG_FD", log_value, 1);
    setenv("DL_DEBUG_RIGHTS_FD", rights_value, 1);
    dup2(files->output, STDOUT_FILENO);
    execl(program, program, argument, (char *)NULL);
    _exit(127);
}

static int run(const char *program, const char *argument, struct way way, const struct files *files) {
    int status;
    pid_t child = fork();

    cr_assert_geq(child, 0, "fork");
    if (child == 0)
        become(program, argument, way, files);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* The content of a file as one string, to be freed; closes it. */
static char *take_content(int descriptor) {
    off_t size = lseek(descriptor, 0, SEEK_END);
    char *content = malloc((size_t)size + 1);

    cr_assert_not_null(content);
    cr_assert_eq(pread(descriptor, content, (size_t)size, 0), size);
    content[size] = '\0';
    close(descriptor);
    return content;
}

static json_t *parse_lines(char *text) {
    json_t *events = json_array();
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_error_t error;
        json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, &error);

        cr_assert_not_null(event, "%s: %s", error.text, line);
        json_array_append_new(events, event);
    }
    return events;
}

struct trace *trace_program_as(const char *program, const char *argument, struct way way) {
    struct trace *trace = calloc(1, sizeof *trace);
    struct files files = {memory_file("events"), memory_file("log"), memory_file("rights"), memory_file("output")};
    char *lines;

    cr_assert_not_null(trace);
    trace->status = run(program, argument, way, &files);
    lines = take_content(files.events);
    trace->events = parse_lines(lines);
    free(lines);
    trace->log = take_content(files.log);
    trace->rights = take_content(files.rights);
    trace->output = take_content(files.output);
    cr_assert_gt(json_array_size(trace->events), 0, "%s %s (status %d) left no event", program, argument,
                 trace->status);
    return trace;
}

struct trace *trace_program(const char *program, const char *argument) {
    return trace_program_as(program, argument, (struct way){.backend = "none", .mode = "observe"});
}

struct trace *trace_scenario(const char *scenario) { return trace_program(DL_DEBUG_PROGRAM, scenario); }

/* CPUID leaf 7, ECX bit 4, OSPKE: the processor has protection keys and the kernel uses them. */
const char *const *backends(void) {
    static const char *const with_keys[] = {"none", "mprotect", "pku", NULL};
    static const char *const without_keys[] = {"none", "mprotect", NULL};
    static const char *const keys_alone[] = {"pku", NULL};
    const char *asked = getenv("DL_DEBUG_BACKENDS");
    unsigned a, b, c, d;

    if (asked != NULL && strcmp(asked, "pku") == 0)
        return keys_alone;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_OSPKE) != 0 ? with_keys : without_keys;
}

void trace_free(struct trace *trace) {
    json_decref(trace->events);
    free(trace->log);
    free(trace->rights);
    free(trace->output);
    free(trace);
}

/* ---- reading ---- */

const json_t *exit_map(void) {
    static json_t *map;

    if (map == NULL) {
        json_error_t error;

        map = json_load_file(DL_DEBUG_MAP_JSON, 0, &error);
        cr_assert_not_null(map, "%s: %s", DL_DEBUG_MAP_JSON, error.text);
    }
    return map;
}

static const json_t *field_of(const json_t *object, const char *field) {
    const json_t *value = json_object_get(object, field);

    if (value == NULL)
        cr_assert_fail("no field \"%s\" in %s", field, json_dumps(object, 0));
    return value;
}

const char *text_of(const json_t *object, const char *field) { return json_string_value(field_of(object, field)); }

long number_of(const json_t *object, const char *field) {
    const json_t *value = field_of(object, field);

    return json_is_null(value) ? -1 : (long)json_integer_value(value);
}

bool flag_of(const json_t *object, const char *field) { return json_is_true(field_of(object, field)); }

unsigned long address_of(const json_t *object, const char *field) {
    const char *text = text_of(object, field);

    cr_assert_not_null(text, "field \"%s\" is null", field);
    return strtoul(text, NULL, 16);
}

const char *base_name(const char *path) {
    const char *slash = path == NULL ? NULL : strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* Path and RVA are enough: no two objects of the test bed have the same base name. */
static const char *symbol_in_map(const char *object, unsigned long rva) {
    const json_t *candidate;
    const json_t *destructor;
    size_t i, k;

    json_array_foreach(json_object_get(exit_map(), "objects"), i, candidate) {
        if (strcmp(base_name(text_of(candidate, "path")), base_name(object)) != 0)
            continue;
        json_array_foreach(field_of(candidate, "destructors"), k,
                           destructor) if (address_of(destructor, "rva") == rva &&
                                           text_of(destructor, "symbol") != NULL) return text_of(destructor, "symbol");
    }
    return "?";
}

const char *function_of(const json_t *event) {
    const json_t *place = json_object_get(event, "function");

    if (place == NULL || text_of(place, "object") == NULL)
        return "?";
    return symbol_in_map(text_of(place, "object"), address_of(place, "rva"));
}

const json_t *event_at(const struct trace *trace, size_t position) { return json_array_get(trace->events, position); }

size_t find_event(const struct trace *trace, size_t from, const char *name, const char *function) {
    size_t count = json_array_size(trace->events);

    for (size_t i = from; i < count; i++) {
        const json_t *event = event_at(trace, i);

        if (strcmp(text_of(event, "event"), name) == 0 &&
            (function == NULL || strcmp(function_of(event), function) == 0))
            return i;
    }
    return count;
}

size_t count_events(const struct trace *trace, const char *name, const char *function) {
    size_t count = 0;

    for (size_t i = find_event(trace, 0, name, function); i < json_array_size(trace->events);
         i = find_event(trace, i + 1, name, function))
        count++;
    return count;
}

static bool same_record(const json_t *left, const json_t *right) {
    return number_of(left, "record") == number_of(right, "record") &&
           number_of(left, "generation") == number_of(right, "generation");
}

const json_t *registration_of(const struct trace *trace, const json_t *event) {
    const json_t *found = NULL;
    const json_t *candidate;
    size_t i;

    json_array_foreach(trace->events, i, candidate) {
        if (candidate == event)
            break;
        if (strcmp(text_of(candidate, "event"), "register") == 0 && same_record(candidate, event))
            found = candidate;
    }
    if (found == NULL)
        cr_assert_fail("no registration before %s", json_dumps(event, 0));
    return found;
}

const json_t *leave_of(const struct trace *trace, const json_t *enter) {
    const json_t *candidate;
    size_t i;

    json_array_foreach(trace->events, i,
                       candidate) if (strcmp(text_of(candidate, "event"), "leave") == 0 &&
                                      number_of(candidate, "seq") == number_of(enter, "seq") &&
                                      number_of(candidate, "pid") == number_of(enter, "pid")) return candidate;
    return NULL;
}

size_t count_lines(const struct trace *trace, const char *beginning) {
    size_t length = strlen(beginning);
    size_t count = 0;

    for (const char *line = trace->log; *line != '\0'; line = strchr(line, '\n') + 1)
        if (strncmp(line, beginning, length) == 0 && (line[length] == ' ' || line[length] == '\n'))
            count++;
    return count;
}
