#include "redirect.h"

#include <linux/futex.h>
#include <sys/mman.h>

#include "ordered.h"
#include "stubs.h"
#include "system.h"

struct ia2_fini_cell ia2_fini_cells[IA2_MAX_OBJECTS] __attribute__((aligned(4096)));

static const uintptr_t page = 4096;

static void fill(struct ia2_fini_cell *cell, const struct ia2_object *object, uint32_t slot) {
    *cell = (struct ia2_fini_cell){
        .stub = ia2_fini_stub(slot),
        .array = {.d_tag = DT_FINI_ARRAY, .d_un.d_ptr = (uintptr_t)&cell->stub - object->base},
        .size = {.d_tag = DT_FINI_ARRAYSZ, .d_un.d_val = sizeof cell->stub},
        .init = {.d_tag = DT_INIT, .d_un.d_ptr = ia2_init_stub(slot) - object->base},
        .fini = {.d_tag = DT_FINI,
                 .d_un.d_ptr = (object->fini_array ? (uintptr_t)ia2_nothing : ia2_fini_stub(slot)) - object->base},
    };
}

/* ---- through the pointers of the link_map: nothing but a few stores ----
 *
 * <link.h> shows the beginning of a link_map only. After it come l_real, l_ns and l_libname, and then l_info: pointers to the entries of
 * the dynamic section by their tags (include/link.h; so in every glibc for x86-64 since 2.3.3). That is believed where the three pointers
 * are exactly the entries that we found ourselves. */

#define INFO_OFFSET (sizeof(struct link_map) + 3 * sizeof(uintptr_t))

static const ElfW(Dyn) **info_of(const struct link_map *map, unsigned tag) {
    return (const ElfW(Dyn) **)((uintptr_t)map + INFO_OFFSET) + tag;
}

static bool knows_layout(const struct ia2_object *object) {
    return *info_of(object->map, DT_FINI_ARRAY) == object->fini_array &&
           *info_of(object->map, DT_FINI_ARRAYSZ) == object->fini_array_size &&
           *info_of(object->map, DT_FINI) == object->fini;
}

/* Some glibc may protect its link_maps some day. The kernel tells without a fault: it is asked to write there what is there. */
static bool can_write(const void *place) {
    static uint32_t nobody_waits;
    const uint32_t or_nothing = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0);
    return ia2_syscall(SYS_futex, (long)&nobody_waits, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, (long)place,
                       (long)or_nothing) >= 0;
}

static bool can_write_pointers(const struct link_map *map) {
    static uintptr_t last; /* page: that of one link_map is that of the next */
    const uintptr_t from = (uintptr_t)info_of(map, DT_INIT);
    const uintptr_t to = (uintptr_t)info_of(map, DT_FINI_ARRAYSZ);
    if (from / page != last && !can_write((const void *)from)) {
        return false;
    }
    last = from / page;
    if (to / page != last && !can_write((const void *)to)) {
        return false;
    }
    last = to / page;
    return true;
}

static void point(const struct ia2_object *object, const struct ia2_fini_cell *cell) {
    if (object->fini_array) {
        *info_of(object->map, DT_FINI_ARRAY) = &cell->array;
        *info_of(object->map, DT_FINI_ARRAYSZ) = &cell->size;
    }
    if (object->fini) {
        *info_of(object->map, DT_FINI) = &cell->fini;
    }
}

bool ia2_redirect_init(struct ia2_object *object, uint32_t slot) {
    const ElfW(Dyn) *init = NULL;
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
        init = entry->d_tag == DT_INIT ? entry : init;
    }
    if (*info_of(object->map, DT_INIT) != init || !can_write_pointers(object->map)) {
        return false;
    }
    fill(&ia2_fini_cells[slot], object, slot);
    object->init = init;
    object->init_redirected = true;
    *info_of(object->map, DT_INIT) = &ia2_fini_cells[slot].init;
    return true;
}

void ia2_restore_init(struct ia2_object *object) {
    if (object->init_redirected) {
        *info_of(object->map, DT_INIT) = object->init;
        object->init_redirected = false;
    }
}

/* ---- in the dynamic section itself ---- */

static int protection_of(uint32_t flags) {
    return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

/* Opens (or closes again) the pages of the dynamic section. Where its segment is writable, RELRO has made whole pages of it
 * read-only (elf/dl-reloc.c), and the others need nothing. Where it is not, other threads may be running code on these pages. */
static bool set_protection(const struct ia2_object *object, bool writable) {
    uintptr_t start = (uintptr_t)object->dynamic & ~(page - 1);
    const ElfW(Dyn) *last = object->dynamic;
    while (last->d_tag != DT_NULL) {
        last++;
    }
    uintptr_t end = ((uintptr_t)(last + 1) + page - 1) & ~(page - 1);
    int closed = protection_of(object->dynamic_flags);
    if (closed & PROT_WRITE) {
        uintptr_t relro_start = object->relro_start & ~(page - 1);
        uintptr_t relro_end = object->relro_end & ~(page - 1);
        start = start > relro_start ? start : relro_start;
        end = end < relro_end ? end : relro_end;
        closed &= ~PROT_WRITE;
    }
    return start >= end || ia2_mprotect(start, end - start, writable ? closed | PROT_WRITE : closed) == 0;
}

static bool edit(const struct ia2_object *object, const struct ia2_fini_cell *cell) {
    if (!set_protection(object, true)) {
        return false;
    }
    if (object->fini_array) {
        object->fini_array->d_un.d_ptr = cell->array.d_un.d_ptr;
        object->fini_array_size->d_un.d_val = cell->size.d_un.d_val;
    }
    if (object->fini) {
        object->fini->d_un.d_ptr = cell->fini.d_un.d_ptr;
    }
    set_protection(object, false);
    return true;
}

/* ---- either way ---- */

bool ia2_redirect(struct ia2_object *object, uint32_t slot) {
    struct ia2_fini_cell *cell = &ia2_fini_cells[slot];
    fill(cell, object, slot);
    atomic_thread_fence(memory_order_release); /* who follows the pointers must find the object and its records */
    ia2_ordered_before();
    object->pointed = knows_layout(object) && can_write_pointers(object->map);
    if (object->pointed) {
        point(object, cell);
        return true;
    }
    return edit(object, cell);
}

bool ia2_still_redirected(const struct ia2_object *object, uint32_t slot) {
    const struct ia2_fini_cell *cell = &ia2_fini_cells[slot];
    const unsigned tag = object->fini_array ? DT_FINI_ARRAY : DT_FINI;
    const ElfW(Dyn) *own = object->fini_array ? object->fini_array : object->fini;
    const ElfW(Dyn) *ours = object->fini_array ? &cell->array : &cell->fini;
    if (object->pointed) {
        return *info_of(object->map, tag) == ours;
    }
    return !own || own->d_un.d_ptr == ours->d_un.d_ptr;
}
