/* What an object says of itself: segments, build ID, notes; and the compartment that follows. */
#ifndef IA2_IDENTIFY_H
#define IA2_IDENTIFY_H

#include "objects.h"

/* Fills everything of `object` that its program headers, its notes and its dynamic section tell, from `info`. `at_start`: it is one of
 * those that come in the order of ld.so's global scope; the first that defines `malloc` serves everyone. Only under the lock of the
 * table. */
void ia2_identify(struct ia2_object *object, const struct dl_phdr_info *info, bool at_start);

/* The entry in the exit map of a loaded object that the table does not know yet, by its ELF header in memory; NULL when the map
 * does not list it. Any thread, signal handlers. */
const struct ia2_map_object *ia2_find_listed(const ElfW(Ehdr) *header, const struct link_map *map);

/* Path of the program, in `to`; returns false where nothing tells it. Under `ld.so PROGRAM` the kernel knows ld.so only, and the
 * program's own first argument has to do. Any time. */
bool ia2_program_path(char *to, size_t size);

/* The program's argv[0], for ia2_program_path(). Set by the constructor. */
extern const char *ia2_first_argument;

/* Gives back what object->path may have taken. */
void ia2_release_path(struct ia2_object *object);

/* Chooses the compartment: the map's, a note's claim, the default list, or what happens to unlisted objects. */
void ia2_choose_compartment(struct ia2_object *object);

/* The object is gone. `heir` is another one of its compartment, which names it from now on; where there is none (NULL), the number
 * may be used again. */
void ia2_leave_compartment(const struct ia2_object *object, const struct ia2_object *heir);

#endif
