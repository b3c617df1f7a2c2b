/* The Criterion suite `dl_debug`: the exit map that the build emitted has exactly the expected destructors.
 *
 * Both forms are read, the JSON with jansson and the binary one as runtime/libia2/map_format.h lays it out. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expected.h"
#include "map_format.h"
#include "trace.h"

#define MAX_DESTRUCTORS 256

/* `FILE KIND SYMBOL COMPARTMENT`: one destructor as a line, so that two lists can be sorted and compared. */
struct list {
    char lines[MAX_DESTRUCTORS][160];
    size_t count;
};

static void add(struct list *list, const char *file, const char *kind, const char *symbol, long compartment) {
    cr_assert_lt(list->count, MAX_DESTRUCTORS);
    snprintf(list->lines[list->count++], sizeof list->lines[0], "%s %s %s %ld", file, kind, symbol, compartment);
}

static int compare_lines(const void *left, const void *right) { return strcmp(left, right); }

static void sort(struct list *list) { qsort(list->lines, list->count, sizeof list->lines[0], compare_lines); }

static void add_expected(struct list *list) {
    for (unsigned i = 0; i < expected_object_count; i++)
        for (unsigned k = 0; k < expected_kind_count; k++) {
            const struct expected_object *object = &expected_objects[i];
            char symbol[128];

            if (object->outlived && strcmp(expected_kinds[k].kind, "on_exit") == 0)
                continue;
            snprintf(symbol, sizeof symbol, "%s_%s", object->name, expected_kinds[k].suffix);
            add(list, object->file, expected_kinds[k].kind, symbol, object->compartment);
        }
    for (unsigned i = 0; i < expected_other_count; i++)
        add(list, expected_others[i].file, expected_others[i].kind, expected_others[i].symbol,
            expected_others[i].compartment);
    sort(list);
}

/* Reports every line that only one list has; both are sorted. */
static void expect_same(const struct list *expected, const struct list *found) {
    size_t i = 0;
    size_t k = 0;

    while (i < expected->count || k < found->count) {
        int order = i == expected->count ? 1 : k == found->count ? -1 : strcmp(expected->lines[i], found->lines[k]);

        cr_expect_eq(order, 0, "%s: %s", order < 0 ? "missing from the map" : "not expected in the map",
                     order < 0 ? expected->lines[i] : found->lines[k]);
        i += order <= 0;
        k += order >= 0;
    }
}

/* The objects of the test bed; what else the map lists (libc and the like) is not ours to predict. */
static bool is_ours(const char *name) {
    return strncmp(name, "libdl_debug_", 12) == 0 || strncmp(name, "plugin_", 7) == 0 ||
           strcmp(name, "dl_debug_test") == 0;
}

static void add_found(struct list *list) {
    const json_t *object;
    const json_t *destructor;
    size_t i, k;

    json_array_foreach(json_object_get(exit_map(), "objects"), i, object) {
        const char *file = base_name(text_of(object, "path"));

        if (!is_ours(file))
            continue;
        json_array_foreach(json_object_get(object, "destructors"), k, destructor) {
            const char *symbol = text_of(destructor, "symbol");

            add(list, file, text_of(destructor, "kind"), symbol == NULL ? "?" : symbol,
                number_of(destructor, "compartment"));
        }
    }
    sort(list);
}

Test(dl_debug, metadata_smoke) {
    static struct list expected;
    static struct list found;

    add_expected(&expected);
    add_found(&found);
    cr_assert_gt(expected.count, 0);
    expect_same(&expected, &found);
}

/* ---- the binary form ---- */

static const char *const kind_names[] = {
    NULL, "fini_array", "fini", "cxa_atexit", "atexit", "on_exit", "quick_exit", "thread_atexit", "pthread_key",
};

static unsigned char *read_map(size_t *size) {
    FILE *file = fopen(DL_DEBUG_MAP_BINARY, "rb");
    unsigned char *content;

    cr_assert_not_null(file, DL_DEBUG_MAP_BINARY);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    content = malloc(*size);
    cr_assert_not_null(content);
    cr_assert_eq(fread(content, 1, *size, file), *size);
    fclose(file);
    return content;
}

static void add_binary(struct list *list, const unsigned char *content, size_t size) {
    const struct ia2_map_header *header = (const void *)content;
    const struct ia2_map_object *objects = (const void *)(content + header->objects);
    const struct ia2_map_destructor *destructors = (const void *)(content + header->destructors);
    const char *strings = (const char *)content + header->strings;

    cr_assert_geq(size, sizeof *header);
    cr_assert_eq(memcmp(header->magic, IA2_MAP_MAGIC, sizeof header->magic), 0);
    cr_assert_eq(header->version, IA2_MAP_VERSION);
    cr_assert_eq(header->total_size, size);
    for (uint32_t i = 0; i < header->object_count; i++) {
        if (!is_ours(strings + objects[i].name))
            continue;
        for (uint32_t k = 0; k < objects[i].destructor_count; k++) {
            const struct ia2_map_destructor *destructor = &destructors[objects[i].first_destructor + k];

            cr_assert(destructor->kind >= 1 && destructor->kind <= 8, "kind %u", destructor->kind);
            add(list, strings + objects[i].name, kind_names[destructor->kind],
                destructor->symbol == 0 ? "?" : strings + destructor->symbol, (long)destructor->compartment);
        }
    }
    sort(list);
}

Test(dl_debug, binary_map_says_the_same) {
    static struct list expected;
    static struct list found;
    size_t size;
    unsigned char *content = read_map(&size);

    add_expected(&expected);
    add_binary(&found, content, size);
    expect_same(&expected, &found);
    free(content);
}

/* probe.c prints what it finds wrong; the three records that it makes up are refused, each with an event. */
Test(dl_debug, public_interface) {
    struct trace *trace = trace_program(DL_DEBUG_PROBE, "");

    cr_expect_str_eq(trace->output, "", "%s", trace->output);
    cr_expect_eq(trace->status, 0);
    cr_expect_eq(count_events(trace, "fault", NULL), 3);
    trace_free(trace);
}
