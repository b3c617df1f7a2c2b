/* What ld.so runs when it finalises an object: the entries DT_FINI_ARRAY, DT_FINI_ARRAYSZ and DT_FINI of its dynamic section, which it
 * finds through pointers in the link_map and reads at call time (elf/dl-fini.c, elf/dl-close.c). */
#ifndef IA2_REDIRECT_H
#define IA2_REDIRECT_H

#include "objects.h"

/* The entries that ld.so reads in place of the object's own, and the one-entry array that they point to. */
struct ia2_fini_cell {
    uintptr_t stub; /* that of the slot */
    ElfW(Dyn) array, size, fini, init;
};

/* By slot. ld.so reads them, so they must be readable whatever else is closed. Written in synchronisations only. */
extern struct ia2_fini_cell ia2_fini_cells[IA2_MAX_OBJECTS];

/* Makes ld.so call the stub of `slot` for all destructors of the object, whose entries `fini_array` and so on are known. False, with
 * nothing changed: neither its pointers nor its dynamic section can be written. Only under the lock of the table. */
bool ia2_redirect(struct ia2_object *object, uint32_t slot);

/* Makes ld.so call the initialisation stub of `slot` where it would run the object's DT_INIT, if any, and gives that back. False: the
 * pointers are not known or cannot be written. Only under the lock of the table. */
bool ia2_redirect_init(struct ia2_object *object, uint32_t slot);
void ia2_restore_init(struct ia2_object *object);

/* Is the object's finalisation still redirected? False also for another object in its place. */
bool ia2_still_redirected(const struct ia2_object *object, uint32_t slot);

#endif
