/* Whose rights a destructor gets: the numbered rules of docs/exit-handling.md, "Ownership". */
#ifndef IA2_OWNER_H
#define IA2_OWNER_H

#include "records.h"

/* Fills owner, also and the flags FOREIGN and VAGUE of `record` from its kind, function, argument, dso and registrar.
 * Any thread; not in a signal handler (it may have to learn of a new object). */
void ia2_owner_resolve(struct exit_record *record);

/* Rule 5, under a host runtime that keeps PKRU restricted: it tells which compartment registers (`pkru`). Its own rights, if it names
 * another's dso_handle. Before the record is published. */
void ia2_owner_restrict(struct exit_record *record, uint32_t pkru);

/* The same for a record of kind fini_array or fini of the object in `slot`. */
void ia2_owner_of_fini(struct exit_record *record, uint32_t slot);

#endif
