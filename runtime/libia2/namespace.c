#include "namespace.h"

#include <sys/mman.h>

#include "dynamic.h"
#include "events.h"
#include "sealed.h"
#include "symbols.h"
#include "system.h"

static const uintptr_t page = 4096;

static const struct {
    const char *name;
    ia2_registration_function hook;
} functions[IA2_REGISTRATIONS] = {
    [IA2_CXA_ATEXIT] = {"__cxa_atexit", ia2_namespace_cxa_atexit},
    [IA2_CXA_THREAD_ATEXIT] = {"__cxa_thread_atexit_impl", ia2_namespace_cxa_thread_atexit},
};

#define IA2_NAMESPACES 16 /* DL_NNS of glibc */

/* By namespace; those of the base namespace are elsewhere (real.h). Only written under the lock of the table. */
static ia2_registration_function real[IA2_NAMESPACES][IA2_REGISTRATIONS];

/* The function in the namespace's libc, where that is loaded: the one object there that defines it. */
static ia2_registration_function find(Lmid_t space, enum ia2_registration which) {
    for (uint32_t slot = 1; slot <= ia2_objects_highest(); slot++) {
        const struct ia2_object *object = ia2_object(slot);
        struct ia2_dynamic tables;
        if (!object->map || object->space != space || !object->soname || !ia2_equal(object->soname, "libc.so.6")) {
            continue;
        }
        ia2_dynamic_read(object, &tables);
        const ElfW(Sym) *symbol = ia2_symbol_find(&tables, functions[which].name);
        if (symbol && ELF64_ST_TYPE(symbol->st_info) == STT_FUNC) {
            return (ia2_registration_function)(object->base + symbol->st_value);
        }
    }
    return NULL;
}

/* RELRO may have closed the slot: it is opened for that and closed again. */
static bool set(const struct ia2_object *object, uintptr_t *slot, uintptr_t value) {
    const uintptr_t start = (uintptr_t)slot & ~(page - 1);
    const uintptr_t relro_end = object->relro_end & ~(page - 1);
    const bool closed = start >= (object->relro_start & ~(page - 1)) && start < relro_end;
    if (closed && ia2_mprotect(start, page, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    *slot = value;
    return !closed || ia2_mprotect(start, page, PROT_READ) == 0;
}

static bool cover(const struct ia2_object *object, const struct ia2_dynamic *tables, const ElfW(Rela) *first, size_t count) {
    bool done = true;
    for (size_t i = 0; i < count; i++) {
        const unsigned type = ELF64_R_TYPE(first[i].r_info);
        const uint32_t symbol = (uint32_t)ELF64_R_SYM(first[i].r_info);
        if (symbol == 0 || (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64)) {
            continue;
        }
        const char *name = tables->strings + tables->symbols[symbol].st_name;
        for (unsigned which = 0; which < IA2_REGISTRATIONS; which++) {
            if (real[object->space][which] && ia2_equal(name, functions[which].name)) {
                done = set(object, (uintptr_t *)(object->base + first[i].r_offset), (uintptr_t)functions[which].hook) &&
                       done;
            }
        }
    }
    return done;
}

void ia2_namespace_cover(const struct ia2_object *object) {
    struct ia2_dynamic tables;
    if (object->space <= LM_ID_BASE || object->space >= IA2_NAMESPACES) {
        return;
    }
    for (unsigned which = 0; which < IA2_REGISTRATIONS; which++) {
        real[object->space][which] = find(object->space, (enum ia2_registration)which);
    }
    ia2_dynamic_read(object, &tables);
    bool done = cover(object, &tables, tables.plt_relocations, tables.plt_count);
    done = cover(object, &tables, tables.relocations, tables.relocation_count) && done;
    if (!done) {
        ia2_event_fault(
            "registrations of an object in another namespace are not seen: its table of functions cannot be written",
            object->path);
    }
}

ia2_registration_function ia2_namespace_real(uintptr_t address, enum ia2_registration which) {
    const uint32_t slot = ia2_object_at(address);
    const Lmid_t space = slot ? ia2_object(slot)->space : LM_ID_BASE;
    if (space > LM_ID_BASE && space < IA2_NAMESPACES && real[space][which]) {
        return real[space][which];
    }
    return which == IA2_CXA_ATEXIT ? ia2_sealed.real.cxa_atexit : ia2_sealed.real.cxa_thread_atexit_impl;
}
