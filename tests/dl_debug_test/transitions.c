#include "transitions.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { KEYS = 16, THREADS = 64, DEPTH = 32, NOBODY = -1 };

/* The walk through a trace. Under `pku` the values are the register's, where keys that are not the runtime's keep the bits that
 * they had: so there it is compared which keys are open. Which one a compartment has is learned at the first sight and must not change. */
struct walk {
    bool virtual;
    bool exiting;
    long key_of[KEYS]; /* by compartment; 0 while not known */
    struct thread {
        long id;
        size_t depth;
        bool rests; /* within an unload, behind its first destructor */
        const json_t *running[DEPTH];
    } threads[THREADS];
};

static struct thread *thread_of(struct walk *walk, const json_t *event) {
    long id = number_of(event, "tid");

    for (size_t i = 0; i < THREADS; i++) {
        if (walk->threads[i].id == 0)
            walk->threads[i].id = id;
        if (walk->threads[i].id == id)
            return &walk->threads[i];
    }
    cr_assert_fail("more than %d threads", THREADS);
    return NULL;
}

/* ---- whose it is ---- */

static long compartment_of(const char *path) {
    const char *file = path == NULL ? "" : base_name(path);

    for (unsigned i = 0; i < expected_object_count; i++)
        if (strcmp(expected_objects[i].file, file) == 0)
            return expected_objects[i].compartment;
    return strcmp(file, "libdl_debug_library_vague.so") == 0 ? 6 : 0; /* all others are shared */
}

static const char *object_of(const json_t *event, const char *member) {
    const json_t *place = json_object_get(event, member);

    return json_is_null(place) ? NULL : text_of(place, "object");
}

/* The rules of ownership (docs/exit-handling.md) for what the test bed registers. */
static long expected_owner(const json_t *enter) {
    const char *holder = object_of(enter, "function");
    const char *registrar = object_of(enter, "registrar");
    const char *dso = text_of(enter, "dso");

    if (dso != NULL)
        return compartment_of(dso);
    if (strcmp(text_of(enter, "kind"), "on_exit") == 0 || strcmp(text_of(enter, "kind"), "pthread_key") == 0)
        return compartment_of(holder) != 0 ? compartment_of(holder) : compartment_of(registrar);
    return registrar != NULL ? compartment_of(registrar) : holder != NULL ? compartment_of(holder) : NOBODY;
}

/* ---- the values ---- */

static unsigned keys(unsigned long key) { return 1u << key; }

/* The keys whose memory `value` lets a thread read and write; fails the test where one may only be read: nobody asked for that. */
static unsigned open_keys(unsigned long value, const json_t *event) {
    unsigned open = 0;

    for (unsigned long key = 0; key < KEYS; key++) {
        unsigned long field = value >> (2 * key) & 3;

        cr_assert_neq(field, 2, "key %lu may be read only: %s", key, json_dumps(event, 0));
        if (field == 0)
            open |= keys(key);
    }
    return open;
}

/* 0 while it is not known: key 0 is always open. */
static unsigned long known_key(const struct walk *walk, long compartment) {
    return (unsigned long)(walk->virtual ? compartment : walk->key_of[compartment]);
}

static long key_for(struct walk *walk, long compartment, unsigned open, const json_t *event) {
    if (walk->virtual)
        return compartment;
    if (walk->key_of[compartment] == 0) {
        cr_assert(__builtin_popcount(open) == 1, "not one key for compartment %ld: %s", compartment,
                  json_dumps(event, 0));
        walk->key_of[compartment] = __builtin_ctz(open);
        for (long other = 1; other < KEYS; other++)
            cr_expect(other == compartment || walk->key_of[other] != walk->key_of[compartment],
                      "compartments %ld and %ld have one key", other, compartment);
    }
    return walk->key_of[compartment];
}

/* Everything: each key that a compartment is known by. The runtime's own, under `pku`, stays closed to everybody. */
static void check_all(const struct walk *walk, unsigned open, const json_t *event) {
    for (long compartment = 1; compartment < KEYS; compartment++)
        cr_expect(open & keys(known_key(walk, compartment)), "compartment %ld is closed: %s", compartment,
                  json_dumps(event, 0));
    cr_expect_eq(__builtin_popcount(open), walk->virtual ? KEYS : KEYS - 1, "%s", json_dumps(event, 0));
}

static void check_wanted(struct walk *walk, const json_t *enter) {
    unsigned open = open_keys(address_of(enter, "pkru_wanted"), enter);
    long owner = expected_owner(enter);
    unsigned expected = keys(0);

    if (owner == NOBODY) {
        check_all(walk, open, enter);
        return;
    }
    if (flag_of(enter, "vague")) { /* inline_variable.hpp: registered by library_vague (6), lies in library_cxx (3) */
        expected |= keys(known_key(walk, 3));
        cr_expect(expected != keys(0), "compartment 3 has no key yet: %s", json_dumps(enter, 0));
    }
    if (owner != 0)
        expected |= keys((unsigned long)key_for(walk, owner, open & ~expected, enter));
    cr_expect_eq(open, expected, "open keys %#x, expected %#x: %s", open, expected, json_dumps(enter, 0));
}

/* Plug-ins come by dlopen: their memory may stay open to others, and their key closed to threads that are older than it. */
static bool comes_late(long compartment) { return compartment == 4 || compartment == 5; }

/* Between destructors: all open before the exit begins, only shared memory from then on, and, for the register, within an unload. */
static void check_between(const struct walk *walk, const struct thread *thread, const json_t *enter) {
    unsigned open = open_keys(address_of(enter, "pkru_before"), enter);

    if (walk->exiting || (thread->rests && !walk->virtual)) {
        cr_expect_eq(open, keys(0), "open keys %#x between destructors: %s", open, json_dumps(enter, 0));
        return;
    }
    for (long compartment = 1; compartment < KEYS; compartment++)
        cr_expect(comes_late(compartment) || open & keys(known_key(walk, compartment)), "compartment %ld is closed: %s",
                  compartment, json_dumps(enter, 0));
}

/* ---- the walk ---- */

static bool is_null(const json_t *event, const char *member) { return json_is_null(json_object_get(event, member)); }

static void check_entered(struct walk *walk, const json_t *enter, const char *backend) {
    struct thread *thread = thread_of(walk, enter);
    long owner = expected_owner(enter);

    cr_expect_eq(number_of(enter, "owner"), owner, "owner %ld, expected %ld: %s", number_of(enter, "owner"), owner,
                 json_dumps(enter, 0));
    cr_expect_eq(number_of(enter, "depth"), (long)thread->depth, "%s", json_dumps(enter, 0));
    if (thread->depth > 0)
        cr_expect_eq(address_of(enter, "pkru_before"), address_of(thread->running[thread->depth - 1], "pkru_wanted"),
                     "%s", json_dumps(enter, 0));
    else
        check_between(walk, thread, enter);
    check_wanted(walk, enter);
    cr_expect(strcmp(backend, "mprotect") == 0 || is_null(enter, "unenforced"), "%s", json_dumps(enter, 0));
    cr_assert_lt(thread->depth, DEPTH);
    thread->rests = strcmp(text_of(enter, "moment"), "unload") == 0;
    thread->running[thread->depth++] = enter;
}

static void check_left(struct walk *walk, const json_t *leave) {
    struct thread *thread = thread_of(walk, leave);
    const json_t *enter;
    const char *outcome;

    cr_assert_gt(thread->depth, 0, "%s", json_dumps(leave, 0));
    enter = thread->running[--thread->depth];
    outcome = expected_owner(enter) == NOBODY ? "fallback" : is_null(enter, "unenforced") ? "success" : "unenforced";
    cr_expect_eq(number_of(leave, "seq"), number_of(enter, "seq"), "%s", json_dumps(leave, 0));
    cr_expect_eq(address_of(leave, "pkru_after"), address_of(enter, "pkru_before"), "not restored: %s",
                 json_dumps(leave, 0));
    cr_expect_str_eq(text_of(leave, "outcome"), outcome, "%s", json_dumps(leave, 0));
}

void check_transitions(const struct trace *trace, const char *backend) {
    struct walk walk = {.virtual = strcmp(backend, "pku") != 0};
    const json_t *event;
    size_t entered = 0;
    size_t i;

    json_array_foreach(trace->events, i, event) {
        const char *name = text_of(event, "event");

        if (strcmp(name, "exit") == 0)
            walk.exiting = true;
        else if (strcmp(name, "enter") == 0) {
            check_entered(&walk, event, backend);
            entered++;
        } else if (strcmp(name, "leave") == 0)
            check_left(&walk, event);
        else if (strcmp(name, "object") == 0 && strcmp(text_of(event, "when"), "unload") == 0)
            thread_of(&walk, event)->rests = false;
    }
    cr_expect_gt(entered, 0);
}

/* ---- what the kernel says ---- */

/* Destructors that write no line: the compiler's, and what lies in none of our objects. */
static bool is_silent(const json_t *enter) {
    const char *symbol = function_of(enter);

    if (strcmp(symbol, "?") ==
        0) /* no destructor of the map's: another object's function (library_borrowed), or not ours */
        return compartment_of(object_of(enter, "function")) == 0;
    return strcmp(symbol, "__do_global_dtors_aux") == 0 || strcmp(symbol, "_fini") == 0;
}

static bool is_open(const char *rights, long compartment) {
    char number[24];
    const char *list = strstr(rights, "open=");
    const char *end = strchr(rights, '\n');
    const char *found;

    snprintf(number, sizeof number, "%ld,", compartment);
    found = strstr(list, number);
    return found != NULL && found < end;
}

static void check_right(const json_t *enter, const char *rights, const char *backend) {
    int length = (int)strcspn(rights, "\n");
    long owner = expected_owner(enter);
    bool all = strcmp(backend, "none") == 0 || owner == NOBODY || !is_null(enter, "unenforced");

    for (long compartment = 1; compartment <= 5; compartment++) {
        bool wanted = all || compartment == owner || (flag_of(enter, "vague") && compartment == 3);

        if (!comes_late(compartment) || compartment == owner)
            cr_expect_eq(is_open(rights, compartment), wanted, "%s: compartment %ld is %s to %.*s", backend,
                         compartment, wanted ? "closed" : "open", length, rights);
    }
    if (strcmp(backend, "pku") == 0)
        cr_expect_eq(strtoul(strstr(rights, "pkru=") + 5, NULL, 16), address_of(enter, "pkru_wanted"), "%.*s", length,
                     rights);
}

void check_rights(const struct trace *trace, const char *backend) {
    const char *line = trace->rights;
    size_t compared = 0;

    for (size_t i = find_event(trace, 0, "enter", NULL); i < json_array_size(trace->events);
         i = find_event(trace, i + 1, "enter", NULL)) {
        const json_t *enter = event_at(trace, i);
        const char *symbol = function_of(enter);

        if (is_silent(enter))
            continue;
        cr_assert(*line != '\0', "%s ran, but told no rights", symbol);
        /* C++ functions tell a demangled name. */
        cr_assert(strncmp(symbol, "_Z", 2) == 0 || strcmp(symbol, "?") == 0 ||
                      strncmp(line, symbol, strlen(symbol)) == 0,
                  "%s: %.*s", symbol, (int)strcspn(line, "\n"), line);
        check_right(enter, line, backend);
        line = strchr(line, '\n') + 1;
        compared++;
    }
    cr_expect(*line == '\0', "left over: %s", line);
    cr_expect_gt(compared, 0);
}
