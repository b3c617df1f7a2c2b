/* Copy relocations: variables of libraries that the linker has put into the program (R_X86_64_COPY in the program's DT_RELA). They lie
 * among its own data, but the library, and whoever else refers to them, works on them there. */
#ifndef IA2_COPIED_H
#define IA2_COPIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia2_copied {
    const char *name; /* in the program's string table */
    uintptr_t start, end;
    uint32_t program; /* its slot */
};

/* The copied variable of the program that holds all of [address, address + size). Returns false where there is none, or where `slot` is not
 * the program's. Any thread, signal handlers; the program's memory may be closed. */
bool ia2_copied_at(uint32_t slot, uintptr_t address, size_t size, struct ia2_copied *found);

/* Does the object in `slot` define that variable or refer to it, under this name or under another one that the program has for it
 * (environ, __environ)? The same. */
bool ia2_copied_used_by(const struct ia2_copied *copied, uint32_t slot);

#endif
