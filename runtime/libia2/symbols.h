/* One question to the dynamic symbol table of a loaded object. */
#ifndef IA2_SYMBOLS_H
#define IA2_SYMBOLS_H

#include "objects.h"

/* Does `rva` lie in a WEAK or UNIQUE data symbol of `object` (vague linkage)? Linear in its symbols: for registrations that
 * look odd, not for every one. Any thread, signal handlers. */
bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva);

#endif
