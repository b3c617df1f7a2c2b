/* The table of loaded objects: one slot for each, with its compartment and what was taken over from its dynamic section. */
#ifndef IA2_OBJECTS_H
#define IA2_OBJECTS_H

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "map.h"
#include "ranges.h"

#define IA2_MAX_OBJECTS 4096u
#define IA2_NO_OBJECT 0u /* slot 0 is never used, so that 0 can say "none" */

enum ia2_decided_by { IA2_BY_UNLISTED, IA2_BY_DEFAULT, IA2_BY_NOTE, IA2_BY_MAP };

struct ia2_object {
    const struct link_map *map; /* NULL: the slot is free */
    uintptr_t base;             /* difference between addresses in the file and in memory */
    uintptr_t start, end;       /* of all its segments */
    uintptr_t code_start, code_end; /* of those that are executable */
    ElfW(Dyn) *dynamic;
    uintptr_t relro_start, relro_end;
    uintptr_t tls_start, tls_end; /* the initial values of thread-local variables */
    uint32_t dynamic_flags;       /* PF_R, PF_W, PF_X of the segment that `dynamic` is in; RELRO closes it after that */
    const char *path; /* of the link_map; of main: what /proc/self/exe says; a copy, `short_path` or a page */
    char short_path[192];
    const char *soname; /* in its own string table; NULL: it has none */
    uint8_t build_id[IA2_MAP_BUILD_ID];
    uint32_t build_id_size;
    const struct ia2_map_object *listed; /* in the exit map, or NULL */
    uint16_t compartment;
    uint8_t decided_by; /* enum ia2_decided_by */
    bool marked;        /* built with ia2_exit_note.h: it may have data that stays open */
    bool clash;         /* its note claims a number that the runtime had given to another object */
    bool seen;          /* during a synchronisation */
    bool uncovered;     /* its destructors run without us */
    bool finalised;     /* its destructors have run: it is being unloaded, and another may be in its place any moment */
    bool pointed;       /* taken over by the pointers of its link_map, not in its dynamic section (redirect.h) */
    bool waits;         /* mapped, not relocated yet: its destructors are taken over before its constructors run */
    Lmid_t space;       /* its namespace: LM_ID_BASE, or what dlmopen made */
    uint8_t range_count; /* of `ranges`; 0: nothing of it can be closed */
    struct ia2_range ranges[IA2_MAX_RANGES];
    const char *why_not; /* why it is uncovered or, where it is covered, not isolated; or NULL */
    ElfW(Dyn) *fini_array; /* the entries of `dynamic`, NULL where there is none */
    ElfW(Dyn) *fini_array_size;
    ElfW(Dyn) *fini;
    const ElfW(Dyn) *init; /* while its initialisation is redirected: what ld.so had there */
    bool init_redirected;
    uintptr_t *entries;    /* the object's own .fini_array */
    uint32_t entry_count;  /* destructors taken over: array entries and DT_FINI */
    uint32_t first_record; /* chain of their records in the order in which they run */
};

/* Brings the table up to date with what is loaded: new objects are taken over, vanished ones forgotten. Cheap when nothing has
 * changed. Not in a signal handler; the first call is the constructor's. */
void ia2_objects_sync(void);

/* The events of the objects of the start, whose synchronisation was quiet. Once, from the constructor. */
void ia2_objects_announce(void);

/* The destructors of the object in `slot` have run, and not because the process exits: ld.so unmaps it now, and another thread may load
 * something in its place before the table knows. */
void ia2_objects_finalised(uint32_t slot);

/* For the audit module. ld.so has mapped an object, or is about to unmap it; the next synchronisation takes notice of what has come, before
 * it is relocated. Not in a signal handler. */
void ia2_objects_coming(const struct link_map *map, Lmid_t space);
void ia2_objects_going(const struct link_map *map);

/* Keeps the table as it is until ia2_objects_release(). False: a signal handler interrupted a change of it in this very thread. */
bool ia2_objects_hold(void);
void ia2_objects_release(void);

/* Slot of the object that `address` lies in, IA2_NO_OBJECT if there is none or it is not known yet. Any time, any thread,
 * signal handlers: it takes no lock. */
uint32_t ia2_object_at(uintptr_t address);

/* The same, but brings the table up to date when an object is there that it does not know. Not in a signal handler. */
uint32_t ia2_object_at_now(uintptr_t address);

/* Slot of the object that ld.so knows by this link_map, likewise. */
uint32_t ia2_object_of(const struct link_map *map);

struct ia2_object *ia2_object(uint32_t slot);

/* The highest slot that was ever used; of those below it some may be free. */
uint32_t ia2_objects_highest(void);

/* For the registration hooks to define: the object with these addresses has been unloaded. Called under the lock. */
void ia2_forget_quick(uintptr_t start, uintptr_t end);

extern _Atomic uint32_t ia2_epoch;
/* Grows by one whenever a slot is given back, or is about to be: caches of slots are void then. */
static inline uint32_t ia2_objects_epoch(void) { return atomic_load_explicit(&ia2_epoch, memory_order_acquire); }

/* Name of a compartment for messages: the map's, else that of its first object; never NULL. */
const char *ia2_compartment_name(uint16_t id);

#endif
