#include "copied.h"

#include <stdatomic.h>

#include "dynamic.h"
#include "objects.h"
#include "symbols.h"

/* What the program's relocations say, read at the first question. */
struct copies {
    uint32_t slot;
    uintptr_t base;
    struct ia2_dynamic tables;
    size_t first, last;        /* the relocations that copy are in [first, last) */
    uintptr_t lowest, highest; /* and what they fill is in [lowest, highest) */
};

static struct copies known;
enum { UNKNOWN, FILLING, KNOWN };
static _Atomic int state;

static uintptr_t size_of(const struct copies *copies, const ElfW(Rela) *relocation) {
    return copies->tables.symbols[ELF64_R_SYM(relocation->r_info)].st_size;
}

static bool copies_something(const ElfW(Rela) *relocation) { return ELF64_R_TYPE(relocation->r_info) == R_X86_64_COPY; }

static bool read_relocations(const struct ia2_object *object, uint32_t slot, struct copies *copies) {
    *copies = (struct copies){.slot = slot, .base = object->base, .lowest = UINTPTR_MAX};
    if (!ia2_dynamic_peek(object, &copies->tables)) {
        return false;
    }
    const struct ia2_dynamic *tables = &copies->tables;
    for (size_t i = tables->relative_count; tables->symbols && i < tables->relocation_count; i++) {
        const ElfW(Rela) *relocation = &tables->relocations[i];
        if (copies_something(relocation)) {
            const uintptr_t start = object->base + relocation->r_offset;
            const uintptr_t end = start + size_of(copies, relocation);
            copies->first = copies->last == 0 ? i : copies->first;
            copies->last = i + 1;
            copies->lowest = start < copies->lowest ? start : copies->lowest;
            copies->highest = end > copies->highest ? end : copies->highest;
        }
    }
    return true;
}

/* Fills `copies` for the program in `slot`; two threads that come first at once both do the work. */
static bool get_copies(uint32_t slot, struct copies *copies) {
    const struct ia2_object *object = ia2_object(slot);
    if (atomic_load_explicit(&state, memory_order_acquire) == KNOWN) {
        *copies = known;
        return copies->slot == slot;
    }
    if (!object->map || object->map->l_name[0] != '\0' || !read_relocations(object, slot, copies)) {
        return false;
    }
    int expected = UNKNOWN;
    if (atomic_compare_exchange_strong(&state, &expected, FILLING)) {
        known = *copies;
        atomic_store_explicit(&state, KNOWN, memory_order_release);
    }
    return true;
}

bool ia2_copied_at(uint32_t slot, uintptr_t address, size_t size, struct ia2_copied *found) {
    struct copies copies;
    if (!get_copies(slot, &copies) || address < copies.lowest || address >= copies.highest) {
        return false;
    }
    for (size_t i = copies.first; i < copies.last; i++) {
        const ElfW(Rela) *relocation = &copies.tables.relocations[i];
        const uintptr_t start = copies.base + relocation->r_offset;
        const uintptr_t length = size_of(&copies, relocation);
        if (copies_something(relocation) && address >= start && address - start < length &&
            size <= length - (address - start)) {
            const ElfW(Sym) *symbol = &copies.tables.symbols[ELF64_R_SYM(relocation->r_info)];
            *found = (struct ia2_copied){copies.tables.strings + symbol->st_name, start, start + length, slot};
            return true;
        }
    }
    return false;
}

bool ia2_copied_used_by(const struct ia2_copied *copied, uint32_t slot) {
    struct ia2_dynamic user;
    struct copies copies;
    if (!get_copies(copied->program, &copies) || !ia2_dynamic_peek(ia2_object(slot), &user)) {
        return false;
    }
    if (ia2_data_is_mentioned(&user, copied->name)) {
        return true;
    }
    /* The linker makes one relocation where a library has several names for a variable; the program defines them all. */
    const struct ia2_dynamic *program = &copies.tables;
    const uint32_t count = ia2_symbol_count(program);
    for (uint32_t i = 0; i < count; i++) {
        const ElfW(Sym) *symbol = &program->symbols[i];
        if (symbol->st_shndx != SHN_UNDEF && copies.base + symbol->st_value == copied->start &&
            ia2_data_is_mentioned(&user, program->strings + symbol->st_name)) {
            return true;
        }
    }
    return false;
}
