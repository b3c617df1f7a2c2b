/* The section headers of a loaded object: they are in its file, not in memory. */
#ifndef IA2_SECTIONS_H
#define IA2_SECTIONS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ranges.h"

struct ia2_object;

/* Where in memory the writable sections called `name` of `object` are. Sets `*number`, which may be more than `room`. Returns false when
 * the object's file cannot be read, is another one by now (its program headers and notes, the build ID among them, are compared), or
 * has no section headers. The name has at most 14 characters. System calls only; not in a signal handler. */
bool ia2_sections_find(const struct ia2_object *object, const ElfW(Phdr) *headers, size_t count, const char *name,
                       struct ia2_range *found, uint32_t room, uint32_t *number);

#endif
