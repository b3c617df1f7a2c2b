/* Memory that is written once and then never again. */
#ifndef IA2_MAP_SEAL_H
#define IA2_MAP_SEAL_H

#include <stdint.h>

/* Turns `size` bytes of private anonymous memory that begin a page, and are all of their mapping, into read-only memory with the same
 * contents at the same place. Returns how strong the result is: the first of these that this kernel and this process can have.
 *
 *   "sealed file, mseal"    a memory file that nobody can write, grow or shrink again, in a mapping that cannot be changed
 *   "sealed file"           the same, but whoever calls munmap or mmap can put something else in its place
 *   "private memory, mseal" read-only memory in a mapping that cannot be changed
 *   "private memory"        read-only memory, until someone calls mprotect
 *   "writable memory"       not even that
 *
 * Leaves no descriptor open. Only from the constructor. */
const char *ia2_map_seal(void *memory, uint64_t size);

#endif
