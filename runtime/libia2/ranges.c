#include "ranges.h"

#include "dynamic.h"
#include "objects.h"
#include "sections.h"

#define SHARED_SECTION ".ia2.shared" /* IA2_SHARED_DATA in ia2_exit_note.h */

static const uintptr_t page = 4096;

static uintptr_t page_below(uintptr_t address) { return address & ~(page - 1); }
static uintptr_t page_above(uintptr_t address) { return page_below(address + page - 1); }

/* Ranges sorted by address. `count` goes on beyond the room. */
struct list {
    struct ia2_range *ranges;
    uint32_t room;
    uint32_t count;
};

static void add(struct list *list, uintptr_t start, uintptr_t end) {
    if (start >= end) {
        return;
    }
    if (list->count > 0 && list->count <= list->room && list->ranges[list->count - 1].end == start) {
        list->ranges[list->count - 1].end = end;
        return;
    }
    if (list->count < list->room) {
        list->ranges[list->count] = (struct ia2_range){start, end};
    }
    list->count++;
}

/* Adds what remains of a range after all of `holes` (in any order, overlapping or not) are taken out of it. */
static void add_without(struct list *list, uintptr_t start, uintptr_t end, const struct ia2_range *holes,
                        uint32_t hole_count) {
    while (start < end) {
        uintptr_t next = end; /* where the next hole begins, and where it ends */
        uintptr_t after = end;
        for (uint32_t i = 0; i < hole_count; i++) {
            const uintptr_t from = holes[i].start > start ? holes[i].start : start;
            if (holes[i].end > start && holes[i].start < holes[i].end && from < next) {
                next = from;
                after = holes[i].end;
            }
        }
        add(list, start, next);
        start = after;
    }
}

static bool holds(const ElfW(Phdr) *segment, const struct ia2_object *object, const void *address) {
    const uintptr_t start = object->base + segment->p_vaddr;
    return (uintptr_t)address >= start && (uintptr_t)address - start < segment->p_memsz;
}

uint32_t ia2_ranges_find(const struct ia2_object *object, const ElfW(Phdr) *headers, size_t count, struct ia2_range *ranges,
                         uint32_t room) {
    enum { MAX_SHARED = 8 };
    struct ia2_range holes[1 + MAX_SHARED];
    uint32_t shared = 0;
    struct list list = {ranges, room, 0};
    struct ia2_dynamic tables;
    if (object->marked && (!ia2_sections_find(object, headers, count, SHARED_SECTION, holes + 1, MAX_SHARED, &shared) ||
                           shared > MAX_SHARED)) {
        return IA2_RANGES_UNREADABLE;
    }
    /* ld.so makes whole pages read-only: both ends are rounded down (elf/dl-reloc.c, _dl_protect_relro). */
    holes[0] = (struct ia2_range){page_below(object->relro_start), page_below(object->relro_end)};
    for (uint32_t i = 1; i <= shared; i++) {
        holes[i] = (struct ia2_range){page_above(holes[i].start), page_below(holes[i].end)};
    }
    ia2_dynamic_read(object, &tables);
    for (size_t i = 0; i < count; i++) {
        const ElfW(Phdr) *segment = &headers[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W)) {
            continue;
        }
        if (segment->p_flags & PF_X) {
            return IA2_RANGES_EXECUTABLE;
        }
        /* patchelf moves names and symbols into a writable segment that it adds: nobody's data, and ld.so and whoever unwinds or looks up
         * a name reads it. */
        if (holds(segment, object, tables.strings) || holds(segment, object, tables.symbols)) {
            continue;
        }
        const uintptr_t start = object->base + segment->p_vaddr;
        add_without(&list, page_below(start), page_above(start + segment->p_memsz), holes, 1 + shared);
    }
    return list.count;
}

const char *ia2_ranges_why_not(uint32_t found) {
    if (found == IA2_RANGES_UNREADABLE) {
        return "its file cannot be read any more, so which of its data is marked as shared is not known";
    }
    if (found == IA2_RANGES_EXECUTABLE) {
        return "its code and its writable data share a segment";
    }
    return found > IA2_MAX_RANGES ? "its writable data lies in too many pieces" : NULL;
}
