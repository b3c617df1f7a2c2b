#include "loader_tables.h"

#include <link.h>

#include "dynamic.h"
#include "objects.h"
#include "peek.h"

static bool within(uintptr_t address, uintptr_t start, uintptr_t end) { return address >= start && address < end; }

/* Is that ld.so? AT_BASE would not tell under `ld.so PROGRAM`, where the kernel has loaded no interpreter. A program for debuggers may have a
 * copy of _r_debug. */
static bool is_loader(uint32_t slot) {
    static _Atomic uint32_t known; /* it is never unloaded */
    uintptr_t base;
    if (known == IA2_NO_OBJECT && ia2_peek(&base, (uintptr_t)&_r_debug.r_ldbase, sizeof base)) {
        known = ia2_object_at(base);
    }
    return slot != IA2_NO_OBJECT && slot == known;
}

/* Bytes of the GOT that a relocation of DT_RELA fills; 0: it is none that is made for a GOT only. */
static uintptr_t size_in_got(const ElfW(Rela) *relocation) {
    switch (ELF64_R_TYPE(relocation->r_info)) {
    case R_X86_64_GLOB_DAT:
    case R_X86_64_TPOFF64:
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
        return sizeof(uintptr_t);
    case R_X86_64_TLSDESC:
        return 2 * sizeof(uintptr_t);
    default:
        return 0;
    }
}

static uintptr_t size_in_plt_got(const ElfW(Rela) *relocation) {
    return (ELF64_R_TYPE(relocation->r_info) == R_X86_64_TLSDESC ? 2 : 1) * sizeof(uintptr_t);
}

/* Does `address` lie between the first and the last slot that these relocations fill? Between them are none but slots of the same table:
 * the section is in one piece. */
static bool among_slots(uintptr_t address, uintptr_t base, const ElfW(Rela) *relocations, size_t count,
                        uintptr_t (*size_of)(const ElfW(Rela) *)) {
    uintptr_t lowest = UINTPTR_MAX;
    uintptr_t highest = 0;
    for (size_t i = 0; i < count; i++) {
        const uintptr_t size = size_of(&relocations[i]);
        const uintptr_t slot = base + relocations[i].r_offset;
        if (size != 0) {
            lowest = slot < lowest ? slot : lowest;
            highest = slot + size > highest ? slot + size : highest;
        }
    }
    return within(address, lowest, highest);
}

/* .got.plt begins with three words for ld.so (x86-64 psABI, "Global Offset Table"). */
static bool in_got(uintptr_t address, uintptr_t base, const struct ia2_dynamic *tables) {
    return within(address, tables->plt_got, tables->plt_got + 3 * sizeof(uintptr_t)) ||
           among_slots(address, base, tables->plt_relocations, tables->plt_count, size_in_plt_got) ||
           among_slots(address, base, tables->relocations + tables->relative_count,
                       tables->relocation_count - tables->relative_count, size_in_got);
}

bool ia2_loader_may_touch(uint32_t victim, uintptr_t address, bool write, uint32_t toucher) {
    const struct ia2_object *object = ia2_object(victim);
    const bool loader = is_loader(toucher);
    const bool shared = ia2_object(toucher)->compartment == 0;
    struct ia2_dynamic tables;
    if (!loader && (write || (toucher != victim && !shared))) {
        return false;
    }
    if (loader && !write && within(address, object->tls_start, object->tls_end)) {
        return true;
    }
    if (!ia2_dynamic_peek(object, &tables)) {
        return false;
    }
    if (within(address, (uintptr_t)object->dynamic, (uintptr_t)object->dynamic + tables.size)) {
        return true;
    }
    return (loader || toucher == victim) && in_got(address, object->base, &tables);
}
