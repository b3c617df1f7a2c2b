/* Questions to the dynamic symbol table of a loaded object. Any thread, signal handlers; those that take an object need its dynamic
 * section open. */
#ifndef IA2_SYMBOLS_H
#define IA2_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "dynamic.h"

/* Does `rva` lie in a WEAK or UNIQUE data symbol of `object` (vague linkage)? Linear in its symbols: for registrations that
 * look odd, not for every one. */
bool ia2_symbol_is_vague(const struct ia2_object *object, uintptr_t rva);

/* The dynamic symbol of this name, in any version, that the object with these tables defines; NULL: it defines none. */
const ElfW(Sym) *ia2_symbol_find(const struct ia2_dynamic *tables, const char *name);

/* The hash of a name, as GNU hash tables have it. */
uint32_t ia2_symbol_hash(const char *name);

/* The same in its default version, for an object that has a GNU hash table: made for many names, most of which are not there. */
const ElfW(Sym) *ia2_symbol_find_default(const struct ia2_dynamic *tables, const char *name, uint32_t hash);

/* How many symbols the tables have. Where the hash table is GNU's, undefined ones count only when a defined one comes after them. */
uint32_t ia2_symbol_count(const struct ia2_dynamic *tables);

/* Does the object with these tables define a dynamic symbol of this name, or refer to one as data (by a relocation that is not of the
 * PLT), in any version? Linear in its relocations. */
bool ia2_data_is_mentioned(const struct ia2_dynamic *tables, const char *name);

#endif
