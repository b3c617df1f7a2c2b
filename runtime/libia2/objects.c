#include "objects.h"

#include <dlfcn.h>

#include "events.h"
#include "identify.h"
#include "redirect.h"
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
    ia2_event_object(slot, "unload");
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

static const ElfW(Dyn) *dynamic_of(const struct dl_phdr_info *info) {
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            return (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    return NULL;
}

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

/* One loaded object: mark it as seen, or give it a slot. */
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct walk *walk = data;
    if (any_sync && info->dlpi_adds == seen_adds && info->dlpi_subs == seen_subs) {
        return 1; /* nothing came, nothing went */
    }
    walk->adds = info->dlpi_adds;
    walk->subs = info->dlpi_subs;
    const ElfW(Dyn) *dynamic = dynamic_of(info);
    if (!dynamic) {
        return 0;
    }
    struct dl_find_object found;
    if (_dl_find_object((void *)dynamic, &found) != 0) {
        walk->skipped = true; /* glibc finds an object only after relocating it (elf/dl-open.c) */
        return 0;
    }
    uint32_t slot = slot_of(found.dlfo_link_map);
    if (slot && objects[slot].dynamic == dynamic && objects[slot].base == info->dlpi_addr &&
        ia2_still_redirected(&objects[slot], slot)) {
        objects[slot].seen = true;
        return 0;
    }
    if (slot) {
        forget(slot); /* gone behind our back, and another object has come in its place */
    }
    slot = free_slot();
    if (slot == IA2_NO_OBJECT) {
        ia2_event_fault("too many objects", info->dlpi_name);
        return 0;
    }
    struct ia2_object *object = &objects[slot];
    object->dynamic = (ElfW(Dyn) *)dynamic;
    object->map = found.dlfo_link_map;
    object->seen = true;
    ia2_identify(object, info, !any_sync);
    return 0;
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

static void sync_locked(void) {
    for (uint32_t slot = 1; slot <= highest; slot++) {
        objects[slot].seen = false;
    }
    struct walk walk = {0};
    if (dl_iterate_phdr(visit, &walk) == 1) {
        return;
    }
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
            ia2_take_over(object, slot);
            if (any_sync) {
                announce(slot, "load");
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
    if (slot == IA2_NO_OBJECT) {
        ia2_objects_sync();
        slot = slot_of(found.dlfo_link_map);
    }
    return slot;
}
