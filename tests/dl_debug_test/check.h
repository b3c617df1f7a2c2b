/* What several files of the suite check of an event. */
#ifndef DL_DEBUG_CHECK_H
#define DL_DEBUG_CHECK_H

#include "expected.h"
#include "trace.h"

/* PKRU with key 0 and the compartment's key open and all others closed to reads and writes: two bits for each key
 * (Intel SDM volume 3, "Protection Keys"). */
unsigned long pkru_for(long compartment);

/* An enter event of a destructor of `object`: owner, name, object, PKRU; that it was registered alike, and left. */
void check_enter(const struct trace *trace, const json_t *enter, const struct expected_object *object,
                 const char *kind);

/* The first run of `function` is at that moment: "exit", "unload" or "thread-end". */
void check_moment(const struct trace *trace, const char *function, const char *moment);

#endif
