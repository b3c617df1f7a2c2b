/* What was unloaded last: for an address that nothing is at any more. */
#ifndef IA2_UNLOADED_H
#define IA2_UNLOADED_H

#include <stdint.h>

/* The object with these addresses is gone. One caller at a time (under the lock of the object table). */
void ia2_unloaded_add(uintptr_t start, uintptr_t end, const char *path);

/* Base name of the object that was unloaded from `address`, the last one if there were several; NULL when none is known.
 * Any time, signal handlers. */
const char *ia2_unloaded_at(uintptr_t address);

#endif
