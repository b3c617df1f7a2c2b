#include "check.h"

#include <criterion/criterion.h>
#include <string.h>

unsigned long pkru_for(long compartment) { return 0xfffffffcul & ~(3ul << (2 * compartment)); }

static void check_owner(const json_t *event, const struct expected_object *object) {
    cr_expect_eq(number_of(event, "owner"), object->compartment, "%s", json_dumps(event, 0));
    cr_expect_str_eq(text_of(event, "owner_name"), object->owner);
    cr_expect(!flag_of(event, "vague"));
}

/* Kinds whose registration names an object by a pointer into it (fini: the object that is finalised). */
static bool names_object(const char *kind) { return strcmp(kind, "on_exit") != 0 && strcmp(kind, "pthread_key") != 0; }

void check_enter(const struct trace *trace, const json_t *enter, const struct expected_object *object,
                 const char *kind) {
    const json_t *registration = registration_of(trace, enter);
    const json_t *leave = leave_of(trace, enter);
    const json_t *place = json_object_get(enter, "function");

    check_owner(enter, object);
    check_owner(registration, object);
    cr_expect_str_eq(text_of(enter, "kind"), kind, "%s", function_of(enter));
    cr_expect_str_eq(text_of(registration, "kind"), text_of(enter, "kind"));
    cr_expect_str_eq(base_name(text_of(place, "object")), object->file);
    if (names_object(kind))
        cr_expect_str_eq(base_name(text_of(enter, "dso")), object->file);
    else
        cr_expect_null(text_of(enter, "dso"));
    cr_expect_eq(address_of(enter, "pkru_wanted"), pkru_for(object->compartment), "%s", json_dumps(enter, 0));
    cr_assert_not_null(leave, "%s never left", function_of(enter));
    cr_expect_geq(number_of(leave, "ns"), 0);
    cr_expect_geq(number_of(leave, "t"), number_of(enter, "t"));
}

void check_moment(const struct trace *trace, const char *function, const char *moment) {
    size_t position = find_event(trace, 0, "enter", function);

    cr_assert_lt(position, json_array_size(trace->events), "%s did not run", function);
    cr_expect_str_eq(text_of(event_at(trace, position), "moment"), moment, "%s", function);
}
