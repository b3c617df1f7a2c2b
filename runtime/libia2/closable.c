/* The pieces of memory that there are to close, by address and by compartment. */
#include <dlfcn.h>

#include "close.h"
#include "objects.h"
#include "run.h"
#include "vault.h"

#define MAX_PIECES 8192u

static struct ia2_piece pieces[MAX_PIECES] IA2_LARGE; /* by address; number i is pieces[i - 1] */
static uint16_t next_of[MAX_PIECES] IA2_LARGE;
static uint16_t first_of[IA2_MAP_MAX_COMPARTMENT + 1u] IA2_LARGE;
static uint32_t count;
static struct ia2_piece fresh_pieces[MAX_PIECES] IA2_LARGE; /* for making the list anew; untouched otherwise */
static struct ia2_piece merged[MAX_PIECES] IA2_LARGE;
static volatile bool stale; /* the program has changed its mappings */

/* Chains the pieces of each compartment. */
static void chain(void) {
    for (uint32_t number = count; number > 0; number--) {
        uint16_t compartment = pieces[number - 1].compartment;
        next_of[number - 1] = first_of[compartment];
        first_of[compartment] = (uint16_t)number;
    }
}

static void unchain(void) {
    for (uint32_t i = 0; i < count; i++) {
        first_of[pieces[i].compartment] = IA2_NO_PIECE;
    }
}

const char *ia2_pieces_refresh(void) {
    unchain();
    stale = false;
    count = ia2_pieces_make(pieces, MAX_PIECES);
    const char *wrong = count == IA2_PIECES_UNREADABLE ? "/proc/self/maps cannot be read"
                        : count > MAX_PIECES           ? "there is too much memory to close"
                                                       : NULL;
    count = wrong ? 0 : count;
    chain();
    return wrong;
}

void ia2_pieces_change(void) { stale = true; }

/* What is closed stays as it was; of what is open, the new list tells. */
static uint32_t merge(const struct ia2_piece *fresh, uint32_t found) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (pieces[i].state != 0) {
            merged[kept++] = pieces[i];
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

static void sort(struct ia2_piece *list, uint32_t length) {
    for (uint32_t i = 1; i < length; i++) { /* nearly sorted, and rarely needed */
        struct ia2_piece piece = list[i];
        uint32_t at = i;
        for (; at > 0 && list[at - 1].start > piece.start; at--) {
            list[at] = list[at - 1];
        }
        list[at] = piece;
    }
}

void ia2_pieces_renew(void) {
    if (!stale) {
        return;
    }
    stale = false;
    uint32_t found = ia2_pieces_make(fresh_pieces, MAX_PIECES);
    if (found > MAX_PIECES) {
        return; /* as good as it was */
    }
    unchain();
    count = merge(fresh_pieces, found);
    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = merged[i];
    }
    sort(pieces, count);
    chain();
}

uint32_t ia2_pieces_count(void) { return count; }

struct ia2_piece *ia2_piece_number(uint32_t number) { return &pieces[number - 1]; }

uint32_t ia2_piece_first_of(uint16_t compartment) {
    return compartment <= IA2_MAP_MAX_COMPARTMENT ? first_of[compartment] : IA2_NO_PIECE;
}

uint32_t ia2_piece_next_of(uint32_t number) { return next_of[number - 1]; }

const struct ia2_piece *ia2_piece_known_at(uintptr_t address) { return ia2_piece_at(pieces, count, address); }

bool ia2_piece_is_there(const struct ia2_piece *piece) {
    const struct ia2_object *object = ia2_object(piece->slot);
    struct dl_find_object found;
    return object->map && piece->start < piece->end && _dl_find_object((void *)object->start, &found) == 0 &&
           found.dlfo_link_map == object->map;
}

void ia2_pieces_forget(uint32_t slot, void (*open)(struct ia2_piece *piece)) {
    for (uint32_t i = 0; i < count; i++) {
        if (pieces[i].slot == slot) {
            open(&pieces[i]);
            pieces[i].slot = IA2_NO_OBJECT; /* its place in the order of addresses stays */
        }
    }
}
