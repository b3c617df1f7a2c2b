/* What the test bed is made of, said once for all tests of the suite. */
#ifndef DL_DEBUG_EXPECTED_H
#define DL_DEBUG_EXPECTED_H

#include <stdbool.h>

/* The objects that include destructors.h. */
struct expected_object {
    const char *name; /* OBJECT: how the names of its functions begin */
    const char *file;
    long compartment;
    const char *owner; /* the compartment's name in dl_debug_test.toml */
    bool outlived;     /* unloaded before the end: no on_exit */
};

extern const struct expected_object expected_objects[];
extern const unsigned expected_object_count;

/* The destructors that destructors.h gives an object. */
struct expected_kind {
    const char *kind;
    const char *suffix; /* OBJECT_SUFFIX is the function */
};

extern const struct expected_kind expected_kinds[];
extern const unsigned expected_kind_count;

/* All others. */
struct expected_destructor {
    const char *file;
    const char *kind;
    const char *symbol;
    long compartment;
};

extern const struct expected_destructor expected_others[];
extern const unsigned expected_other_count;

#endif
