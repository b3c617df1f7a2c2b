/* Whose rights a destructor gets: the numbered rules of docs/exit-handling.md, "Ownership". */
#ifndef IA2_OWNER_H
#define IA2_OWNER_H

#include "records.h"

/* The last dso_handle that this thread resolved by rule 2: most registrations of an object come one after the other, with an
 * argument and a call in that very object. Void when the epoch of the objects has moved on. */
struct ia2_owner_cache {
    uintptr_t dso, start, size;
    uint32_t epoch;
    uint16_t owner;
    bool plain; /* the exit map has nothing to say of single functions of this object */
};
extern __thread struct ia2_owner_cache ia2_owner_cache;

/* Fills owner, also and the flags FOREIGN and VAGUE of `record` from its kind, function, argument, dso and registrar.
 * Any thread; not in a signal handler (it may have to learn of a new object). */
void ia2_owner_resolve(struct exit_record *record);

/* The same for a record of kind fini_array or fini of the object in `slot`. */
void ia2_owner_of_fini(struct exit_record *record, uint32_t slot);

#endif
