#include "objects.h"

#include <dlfcn.h>

#include "backend.h"
#include "dynamic.h"
#include "events.h"
#include "identify.h"
#include "namespace.h"
#include "ordered.h"
#include "redirect.h"
#include "sealed.h"
#include "system.h"
#include "takeover.h"
#include "unloaded.h"
#include "vault.h"

/* Slots by link_map: open addressing, read without a lock. An entry is a slot, 0 (never used) or GONE. */
#define INDEX_SIZE 16384u
#define GONE UINT16_MAX

static struct ia2_object objects[IA2_MAX_OBJECTS] IA2_LARGE;
static _Atomic uint16_t index_of[INDEX_SIZE] IA2_LARGE;
static _Atomic uint32_t highest;     /* highest slot ever used, changed only under the lock */
static ia2_lock lock;                /* of the whole table */
static unsigned long long seen_adds; /* dlpi_adds and dlpi_subs of what the table shows; 0 and 0: it may be behind */
static unsigned long long seen_subs;
static bool any_sync;
static uint32_t waiting; /* objects that wait for being relocated */

_Atomic uint32_t ia2_epoch;

struct ia2_object *ia2_object(uint32_t slot) { return &objects[slot]; }
uint32_t ia2_objects_highest(void) { return highest; }

/* ld.so allocates one link_map of more than a kilobyte after the other: neighbours share a page of the index. */
static uint32_t hash(const void *map) { return (uint32_t)((uintptr_t)map >> 10) % INDEX_SIZE; }

static uint32_t slot_of(const void *map) {
    for (uint32_t i = 0, at = hash(map); i < INDEX_SIZE; i++, at = (at + 1) % INDEX_SIZE) {
        uint16_t slot = atomic_load_explicit(&index_of[at], memory_order_acquire);
        if (slot == 0) {
            return IA2_NO_OBJECT;
        }
        if (slot != GONE && objects[slot].map == map) {
            return slot;
        }
    }
    return IA2_NO_OBJECT;
}

static void index_add(uint32_t slot) {
    uint32_t at = hash(objects[slot].map);
    for (;; at = (at + 1) % INDEX_SIZE) { /* four times as many places as slots: one is free or gone */
        uint16_t there = atomic_load_explicit(&index_of[at], memory_order_relaxed);
        if (there == 0 || there == GONE) {
            atomic_store_explicit(&index_of[at], (uint16_t)slot, memory_order_release);
            return;
        }
    }
}

static void index_remove(uint32_t slot) {
    for (uint32_t i = 0, at = hash(objects[slot].map); i < INDEX_SIZE; i++, at = (at + 1) % INDEX_SIZE) {
        if (atomic_load_explicit(&index_of[at], memory_order_relaxed) == slot) {
            /* At the end of its run of entries the place can become "never used" again, so that runs stay short. */
            uint16_t next = atomic_load_explicit(&index_of[(at + 1) % INDEX_SIZE], memory_order_relaxed);
            atomic_store_explicit(&index_of[at], next == 0 ? 0 : GONE, memory_order_release);
            return;
        }
    }
}

static void forget(uint32_t slot) {
    struct ia2_object *object = &objects[slot];
    const struct ia2_object *heir = NULL;
    if (object->waits) {
        waiting--; /* nobody has heard of it */
    } else {
        ia2_event_object(slot, "unload");
    }
    ia2_drop_taken(object);
    ia2_forget_quick(object->start, object->end);
    ia2_unloaded_add(object->start, object->end, object->path);
    index_remove(slot);
    for (uint32_t other = 1; other <= highest; other++) {
        if (other != slot && objects[other].map && objects[other].compartment == object->compartment) {
            heir = &objects[other];
        }
    }
    ia2_leave_compartment(object, heir);
    ia2_release_path(object);
    *object = (struct ia2_object){0};
    atomic_fetch_add_explicit(&ia2_epoch, 1, memory_order_release);
}

bool ia2_objects_hold(void) { return ia2_lock_take(&lock); }

void ia2_objects_release(void) { ia2_lock_give(&lock); }

/* ---- what the audit module says ---- */

static struct {
    const struct link_map *map;
    Lmid_t space;
} coming[IA2_MAX_OBJECTS] IA2_LARGE; /* mapped, and not in the table yet; only under the lock */
static uint32_t coming_count;

void ia2_objects_coming(const struct link_map *map, Lmid_t space) {
    if (ia2_lock_take(&lock)) {
        if (coming_count < IA2_MAX_OBJECTS) {
            coming[coming_count].map = map;
            coming[coming_count++].space = space;
        }
        ia2_lock_give(&lock);
    }
}

static void comes_no_more(const struct link_map *map) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < coming_count; i++) {
        if (coming[i].map != map) {
            coming[kept++] = coming[i];
        }
    }
    coming_count = kept;
}

void ia2_objects_going(const struct link_map *map) {
    if (ia2_lock_take(&lock)) {
        uint32_t slot = slot_of(map);
        ia2_ordered_after();
        comes_no_more(map);
        if (slot != IA2_NO_OBJECT) {
            ia2_close_forget(slot);
            forget(slot);
        }
        ia2_lock_give(&lock);
    }
}

static const struct link_map *coming_with(const ElfW(Dyn) *dynamic) {
    for (uint32_t i = 0; i < coming_count; i++) {
        if (coming[i].map->l_ld == dynamic) {
            return coming[i].map;
        }
    }
    return NULL;
}

/* ---- what ld.so shows ---- */

static uint32_t free_slot(void) {
    for (uint32_t slot = 1; slot < IA2_MAX_OBJECTS; slot++) {
        if (!objects[slot].map) {
            highest = slot > highest ? slot : highest;
            return slot;
        }
    }
    return IA2_NO_OBJECT;
}

/* What one walk over the loaded objects saw. The counts must come from this very walk: another thread may load meanwhile. */
struct walk {
    unsigned long long adds, subs;
    bool skipped; /* an object is listed that ld.so has not finished loading: look again next time */
};

static void add(const struct dl_phdr_info *info, const struct link_map *map, Lmid_t space, bool relocated) {
    uint32_t slot = free_slot();
    if (slot == IA2_NO_OBJECT) {
        ia2_event_fault("too many objects", info->dlpi_name);
        return;
    }
    struct ia2_object *object = &objects[slot];
    object->dynamic = map->l_ld;
    object->map = map;
    object->space = space;
    object->seen = true;
    object->waits = !relocated;
    ia2_identify(object, info, !any_sync);
}

static bool slot_with(const ElfW(Dyn) *dynamic) {
    for (uint32_t slot = 1; slot <= highest; slot++) {
        if (objects[slot].map && objects[slot].dynamic == dynamic) {
            return true;
        }
    }
    return false;
}

/* One loaded object: mark it as seen, or give it a slot. */
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct walk *walk = data;
    if (any_sync && info->dlpi_adds == seen_adds && info->dlpi_subs == seen_subs) {
        return 1; /* nothing came, nothing went */
    }
    walk->adds = info->dlpi_adds;
    walk->subs = info->dlpi_subs;
    const ElfW(Dyn) *dynamic = ia2_dynamic_of(info);
    if (!dynamic) {
        return 0;
    }
    struct dl_find_object found;
    const bool relocated =
        _dl_find_object((void *)dynamic, &found) == 0; /* glibc finds it not before (elf/dl-open.c) */
    const struct link_map *map = relocated ? found.dlfo_link_map : coming_with(dynamic);
    if (!map) {
        walk->skipped = true;
        return 0;
    }
    uint32_t slot = slot_of(map);
    if (slot && objects[slot].dynamic == dynamic && objects[slot].base == info->dlpi_addr &&
        (ia2_sealed.patched ? !objects[slot].finalised : ia2_still_redirected(&objects[slot], slot))) {
        objects[slot].seen = true;
        return 0;
    }
    if (slot) {
        forget(slot); /* gone behind our back, and another object has come in its place */
    }
    add(info, map, LM_ID_BASE, relocated);
    return 0;
}

/* The objects of other namespaces, of which dl_iterate_phdr shows nothing here. ld.so is one object in all of them. */
static void add_coming(void) {
    for (uint32_t i = 0; i < coming_count; i++) {
        const struct link_map *map = coming[i].map;
        struct dl_phdr_info info = {.dlpi_addr = map->l_addr, .dlpi_name = map->l_name};
        struct dl_find_object found;
        if (coming[i].space == LM_ID_BASE || slot_of(map) || slot_with(map->l_ld)) {
            continue;
        }
        int count = dlinfo((void *)map, RTLD_DI_PHDR, &info.dlpi_phdr);
        if (count <= 0) {
            ia2_event_fault("an object of another namespace is not covered: glibc does not tell its segments",
                            map->l_name);
            continue;
        }
        info.dlpi_phnum = (ElfW(Half))count;
        add(&info, map, coming[i].space, _dl_find_object(map->l_ld, &found) == 0);
    }
    coming_count = 0;
}

static void announce(uint32_t slot, const char *when) {
    const struct ia2_object *object = &objects[slot];
    ia2_event_taken(object);
    ia2_event_object(slot, when);
    if (object->clash) {
        ia2_event_fault("a note claims a compartment number that the runtime had given to another object; "
                        "write an exit map",
                        object->path);
    }
}

void ia2_objects_announce(void) {
    for (uint32_t slot = 1; slot <= highest; slot++) {
        if (objects[slot].map) {
            announce(slot, "start");
        }
    }
}

/* The destructors of a relocated object. Those of the start are announced later, when it is known what can be done. */
static void take_over(uint32_t slot) {
    ia2_take_over(&objects[slot], slot);
    ia2_namespace_cover(&objects[slot]);
    if (any_sync) {
        announce(slot, "load");
    }
}

/* The same for objects that have been relocated since. */
static void take_over_waiting(void) {
    bool opened = false;
    struct dl_find_object found;
    for (uint32_t slot = 1; slot <= highest && waiting > 0; slot++) {
        struct ia2_object *object = &objects[slot];
        if (object->map && object->waits && _dl_find_object(object->dynamic, &found) == 0) {
            object->waits = false;
            waiting--;
            opened = opened || ia2_takeover_begin();
            ia2_restore_init(object);
            take_over(slot);
        }
    }
    if (opened) {
        ia2_takeover_end();
    }
}

static void sync_locked(void) {
    if (waiting > 0) {
        take_over_waiting();
    }
    for (uint32_t slot = 1; slot <= highest; slot++) {
        objects[slot].seen = objects[slot].space != LM_ID_BASE; /* the audit module tells when those go */
    }
    struct walk walk = {0};
    if (dl_iterate_phdr(visit, &walk) == 1) {
        return;
    }
    ia2_ordered_after();
    add_coming();
    bool opened = false;
    /* Claims of compartments by notes are all read by now: numbers for the others come after them. */
    for (uint32_t slot = 1; slot <= highest; slot++) {
        struct ia2_object *object = &objects[slot];
        if (object->map && !object->seen) {
            forget(slot);
        } else if (object->map && slot_of(object->map) != slot) {
            ia2_choose_compartment(object);
            index_add(slot);
            opened = opened || ia2_takeover_begin();
            if (object->waits) {
                waiting++;
                (void)ia2_redirect_init(object, slot); /* else it is taken over when the table is looked at again */
            } else {
                take_over(slot); /* relocated already: glibc 2.41 and later tell us that late (elf/dl-open.c) */
            }
        }
    }
    if (opened) {
        ia2_takeover_end();
    }
    seen_adds = walk.skipped ? 0 : walk.adds;
    seen_subs = walk.skipped ? 0 : walk.subs;
    any_sync = true;
}

void ia2_objects_sync(void) {
    if (ia2_lock_take(&lock)) {
        sync_locked();
        ia2_lock_give(&lock);
    }
}

uint32_t ia2_object_of(const struct link_map *map) { return slot_of(map); }

uint32_t ia2_object_at(uintptr_t address) {
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0) {
        return IA2_NO_OBJECT;
    }
    return slot_of(found.dlfo_link_map);
}

uint32_t ia2_object_at_now(uintptr_t address) {
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0) {
        return IA2_NO_OBJECT;
    }
    uint32_t slot = slot_of(found.dlfo_link_map);
    if (slot == IA2_NO_OBJECT || objects[slot].finalised) {
        ia2_objects_sync();
        slot = slot_of(found.dlfo_link_map);
    }
    return slot;
}

void ia2_objects_finalised(uint32_t slot) {
    objects[slot].finalised = true;
    atomic_fetch_add_explicit(&ia2_epoch, 1, memory_order_release);
}
