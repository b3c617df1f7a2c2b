#include "pieces.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "mappings.h"
#include "objects.h"

/* The ranges of all objects, unsorted, as far as there is room. Returns how many there are. */
static uint32_t collect(struct ia2_piece *pieces, uint32_t room) {
    uint32_t count = 0;
    for (uint32_t slot = 1, highest = ia2_objects_highest(); slot <= highest; slot++) {
        const struct ia2_object *object = ia2_object(slot);
        if (!object->map || object->compartment == 0 || object->finalised) {
            continue;
        }
        for (uint32_t i = 0; i < object->range_count; i++, count++) {
            if (count < room) {
                pieces[count] = (struct ia2_piece){.start = object->ranges[i].start,
                                                   .end = object->ranges[i].end,
                                                   .slot = slot,
                                                   .compartment = object->compartment};
            }
        }
    }
    return count;
}

/* Shell's sort, with Knuth's steps: ld.so maps downwards, so the usual order is the reverse. */
static void sort(struct ia2_piece *pieces, uint32_t count) {
    uint32_t step = 1;
    while (step < count / 3) {
        step = 3 * step + 1;
    }
    for (; step > 0; step /= 3) {
        for (uint32_t i = step; i < count; i++) {
            const struct ia2_piece piece = pieces[i];
            uint32_t at = i;
            for (; at >= step && pieces[at - step].start > piece.start; at -= step) {
                pieces[at] = pieces[at - step];
            }
            pieces[at] = piece;
        }
    }
}

static bool can_be_closed(int protection) { return (protection & (PROT_READ | PROT_EXEC)) == PROT_READ; }

/* Adds a piece, or lengthens the last one. Returns false where the place `end` is reached. */
static bool put(struct ia2_piece *pieces, uint32_t *count, uint32_t end, struct ia2_piece piece) {
    if (*count > 0) {
        struct ia2_piece *last = &pieces[*count - 1];
        if (last->end == piece.start && last->slot == piece.slot && last->protection == piece.protection) {
            last->end = piece.end;
            return true;
        }
    }
    if (*count == end) {
        return false;
    }
    pieces[(*count)++] = piece;
    return true;
}

/* Cuts the sorted ranges, pieces[next] to the last, along the mappings. The result grows from the front, never past what is still to be
 * cut. Returns its length, or `room` + 1 where it does not fit. */
static uint32_t cut(struct ia2_piece *pieces, uint32_t next, uint32_t room, struct ia2_mappings *mappings) {
    uint32_t count = 0;
    struct ia2_mapping mapping;
    while (next < room) {
        struct ia2_piece range = pieces[next++];
        while (range.start < range.end && ia2_mappings_next(mappings, range.start, &mapping)) {
            struct ia2_piece piece = range;
            piece.start = mapping.start > range.start ? mapping.start : range.start;
            piece.end = mapping.end < range.end ? mapping.end : range.end;
            piece.protection = (uint8_t)mapping.protection;
            if (piece.start < piece.end && can_be_closed(mapping.protection) && !put(pieces, &count, next, piece)) {
                return room + 1;
            }
            range.start = piece.end;
        }
    }
    return count;
}

uint32_t ia2_pieces_make(struct ia2_piece *pieces, uint32_t room) {
    struct ia2_mappings mappings;
    uint32_t ranges = collect(pieces, room);
    if (ranges > room) {
        return ranges;
    }
    sort(pieces, ranges);
    for (uint32_t i = ranges; i-- > 0;) {
        pieces[room - ranges + i] = pieces[i];
    }
    if (!ia2_mappings_open(&mappings)) {
        return IA2_PIECES_UNREADABLE;
    }
    uint32_t count = cut(pieces, room - ranges, room, &mappings);
    return ia2_mappings_close(&mappings) ? count : IA2_PIECES_UNREADABLE;
}

const struct ia2_piece *ia2_piece_at(const struct ia2_piece *pieces, uint32_t count, uintptr_t address) {
    uint32_t low = 0;
    while (count > 0) {
        const uint32_t half = count / 2;
        if (pieces[low + half].end <= address) {
            low += half + 1;
            count -= half + 1;
        } else if (pieces[low + half].start > address) {
            count = half;
        } else {
            return &pieces[low + half];
        }
    }
    return NULL;
}
