/* Questions to the dynamic symbol table of a loaded object. Any thread, signal handlers. */
#ifndef IA2_SYMBOLS_H
#define IA2_SYMBOLS_H

#include "objects.h"

/* Does `rva` lie in a WEAK or UNIQUE data symbol of `object` (vague linkage)? Linear in its symbols: for registrations that
 * look odd, not for every one. */
bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva);

/* Does `object` define a dynamic symbol of this name, in any version? */
bool ia2_symbol_is_defined(const struct ia2_object *object, const char *name);

#endif
