/* The pieces of memory that there are to close, by address and by compartment. */
#include <dlfcn.h>

#include "changes.h"
#include "close.h"
#include "mappings.h"
#include "objects.h"
#include "run.h"
#include "vault.h"

#define MAX_PIECES 8192u

struct list {
    uint32_t count;
    uint16_t first_of[IA2_MAP_MAX_COMPARTMENT + 1u];
    uint16_t next_of[MAX_PIECES];
    struct ia2_piece pieces[MAX_PIECES]; /* by address; number i is pieces[i - 1] */
};

/* One is read, without a lock, while the next one is made in the other. */
static struct list lists[2] IA2_LARGE;
static struct list *_Atomic current;
static struct ia2_piece fresh[MAX_PIECES] IA2_LARGE; /* for making a list anew; untouched otherwise */
static volatile bool stale;                          /* the program has changed its mappings */

static struct list *now(void) {
    struct list *list = atomic_load_explicit(&current, memory_order_acquire);
    return list ? list : &lists[0];
}

/* The one that nobody reads, empty. */
static struct list *next(void) {
    struct list *list = now() == &lists[0] ? &lists[1] : &lists[0];
    for (uint32_t i = 0; i < list->count; i++) {
        list->first_of[list->pieces[i].compartment] = IA2_NO_PIECE;
    }
    list->count = 0;
    return list;
}

/* Chains the pieces of each compartment; then it is the one that is read. */
static void publish(struct list *list, uint32_t count) {
    list->count = count;
    for (uint32_t number = count; number > 0; number--) {
        uint16_t compartment = list->pieces[number - 1].compartment;
        list->next_of[number - 1] = list->first_of[compartment];
        list->first_of[compartment] = (uint16_t)number;
    }
    atomic_store_explicit(&current, list, memory_order_release);
}

const char *ia2_pieces_refresh(void) {
    struct list *list = next();
    stale = false;
    const bool held = ia2_objects_hold();
    const uint32_t count = ia2_pieces_make(list->pieces, MAX_PIECES);
    if (held) {
        ia2_objects_release();
    }
    const char *wrong = count == IA2_PIECES_UNREADABLE ? "/proc/self/maps cannot be read"
                        : count > MAX_PIECES           ? "there is too much memory to close"
                                                       : NULL;
    publish(list, wrong ? 0 : count);
    return wrong;
}

void ia2_pieces_change(void) {
    stale = true;
    ia2_changes_tell(IA2_MAPPINGS_CHANGED);
}

/* What is closed stays as it was; of what is open, the fresh list tells. */
static uint32_t merge(struct ia2_piece *merged, const struct list *old, uint32_t found) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < old->count; i++) {
        if (old->pieces[i].state != 0) {
            merged[kept++] = old->pieces[i];
        }
    }
    const uint32_t closed = kept;
    for (uint32_t i = 0; i < found && kept < MAX_PIECES; i++) {
        const struct ia2_piece *under =
            ia2_piece_at(merged, closed, fresh[i].start); /* a page that is open for one destructor */
        if (!under) {
            merged[kept++] = fresh[i];
        }
    }
    return kept;
}

static void sort(struct ia2_piece *pieces, uint32_t length) {
    for (uint32_t i = 1; i < length; i++) { /* nearly sorted, and rarely needed */
        struct ia2_piece piece = pieces[i];
        uint32_t at = i;
        for (; at > 0 && pieces[at - 1].start > piece.start; at--) {
            pieces[at] = pieces[at - 1];
        }
        pieces[at] = piece;
    }
}

void ia2_pieces_renew(void) {
    if (!stale) {
        return;
    }
    stale = false;
    uint32_t found = ia2_pieces_make(fresh, MAX_PIECES);
    if (found > MAX_PIECES) {
        stale = true;
        return; /* as good as it was */
    }
    struct list *list = next();
    uint32_t count = merge(list->pieces, now(), found);
    sort(list->pieces, count);
    publish(list, count);
}

/* What was a piece and is none any more: the program uses it for something else. */
static bool leave_out(const struct ia2_piece *was, const struct list *list, struct ia2_mappings *mappings,
                      void (*open)(uintptr_t start, uintptr_t end, int protection)) {
    struct ia2_mapping mapping;
    uintptr_t at = was->start;
    while (at < was->end && ia2_mappings_next(mappings, at, &mapping) && mapping.start < was->end) {
        const uintptr_t start = mapping.start > at ? mapping.start : at;
        const uintptr_t end = mapping.end < was->end ? mapping.end : was->end;
        if (start < end && !ia2_piece_at(list->pieces, list->count, start)) {
            open(start, end, mapping.protection);
        }
        at = end;
    }
    return !mappings->failed;
}

/* Other threads read the list, and may touch what is in it at any moment: what is closed must be listed as closed. */
static bool replace(void (*mark)(struct ia2_piece *piece),
                    void (*open)(uintptr_t start, uintptr_t end, int protection)) {
    const struct list *old = now();
    struct list *list = next();
    const uint32_t count = ia2_pieces_make(list->pieces, MAX_PIECES);
    struct ia2_mappings mappings;
    if (count > MAX_PIECES || !ia2_mappings_open(&mappings)) {
        return false;
    }
    list->count = count;
    for (uint32_t i = 0; i < count; i++) {
        mark(&list->pieces[i]);
    }
    for (uint32_t i = 0; i < old->count; i++) {
        const struct ia2_piece *was = &old->pieces[i];
        if (was->state != 0 && ia2_piece_is_there(was) && !leave_out(was, list, &mappings, open)) {
            break;
        }
    }
    (void)ia2_mappings_close(&mappings);
    publish(list, count);
    return true;
}

bool ia2_pieces_replace(void (*mark)(struct ia2_piece *piece),
                        void (*open)(uintptr_t start, uintptr_t end, int protection)) {
    if (!stale) {
        return false;
    }
    stale = false; /* first: what changes meanwhile is for the next one */
    const bool done = replace(mark, open);
    stale = stale || !done; /* where the list could not be made, the next one tries again */
    return done;
}

uint32_t ia2_pieces_count(void) { return now()->count; }

struct ia2_piece *ia2_piece_number(uint32_t number) { return &now()->pieces[number - 1]; }

uint32_t ia2_piece_first_of(uint16_t compartment) {
    return compartment <= IA2_MAP_MAX_COMPARTMENT ? now()->first_of[compartment] : IA2_NO_PIECE;
}

uint32_t ia2_piece_next_of(uint32_t number) { return now()->next_of[number - 1]; }

const struct ia2_piece *ia2_piece_known_at(uintptr_t address) {
    const struct list *list = now();
    return ia2_piece_at(list->pieces, list->count, address);
}

static bool is_of(const struct ia2_piece *piece, const struct ia2_object *object) {
    bool inside = false;
    for (uint8_t i = 0; i < object->range_count && !inside; i++) {
        inside = piece->start >= object->ranges[i].start && piece->end <= object->ranges[i].end;
    }
    return inside;
}

bool ia2_piece_is_there(const struct ia2_piece *piece) {
    const struct ia2_object *object = ia2_object(piece->slot);
    struct dl_find_object found;
    return object->map && is_of(piece, object) && piece->start < piece->end &&
           _dl_find_object((void *)object->start, &found) == 0 && found.dlfo_link_map == object->map;
}

void ia2_pieces_forget(uint32_t slot, void (*open)(struct ia2_piece *piece)) {
    struct list *list = now();
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->pieces[i].slot == slot) {
            open(&list->pieces[i]);
            list->pieces[i].slot = IA2_NO_OBJECT; /* its place in the order of addresses stays */
        }
    }
}
