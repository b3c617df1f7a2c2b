/* Taking over DT_FINI_ARRAY and DT_FINI of one object (docs/exit-handling.md, "What the runtime hooks"), and giving them back. */
#ifndef IA2_TAKEOVER_H
#define IA2_TAKEOVER_H

#include "objects.h"

/* Makes ld.so call the stub of `slot` for the object's destructors, and a record for each of them. On failure object->why_not says why
 * and everything is as before. Only under the lock of the table. */
void ia2_take_over(struct ia2_object *object, uint32_t slot);

/* The initialisation stubs call it: all that waits is taken over, and then the object in `slot` initialised. */
void ia2_run_init(int argc, char **argv, char **envp, uint32_t slot);

/* How ld.so is made to call us: "patched" (patched.h), "pointers", or "dynamic" where the dynamic section of any object had to be
 * edited (redirect.h). */
const char *ia2_taken_by(void);

/* Around calls of ia2_take_over() and ia2_redirect_init(). False: they cannot be made. */
bool ia2_takeover_begin(void);
void ia2_takeover_end(void);

/* The `register` events of what was taken over. */
void ia2_event_taken(const struct ia2_object *object);

/* Frees the records of an object that is gone. Only under the lock of the table. */
void ia2_drop_taken(struct ia2_object *object);

/* Runs the destructors of the object in `slot`: its array from the last entry to the first, then DT_FINI. The stubs call it. */
void ia2_run_fini(uint32_t slot);

#endif
