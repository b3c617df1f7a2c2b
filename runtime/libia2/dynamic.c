#include "dynamic.h"

#include "objects.h"
#include "peek.h"

/* A walk under way. The name is an offset into a table that may come after it. */
struct walk {
    uintptr_t base;
    struct ia2_dynamic *found;
    bool named;
    size_t name;
};

/* Takes note of one entry. Returns false at the last one. */
static bool take(struct walk *walk, const ElfW(Dyn) *entry) {
    struct ia2_dynamic *found = walk->found;
    const uintptr_t value = entry->d_un.d_val;
    /* ld.so relocates addresses in place, except where the section is read-only: the vdso, or -z rodynamic (elf/get-dynamic-info.h) */
    const uintptr_t address = value < walk->base ? value + walk->base : value;
    found->size += sizeof *entry;
    switch (entry->d_tag) {
    case DT_NULL:
        return false;
    case DT_SONAME:
        walk->named = true;
        walk->name = value;
        break;
    case DT_STRTAB:
        found->strings = (const char *)address;
        break;
    case DT_SYMTAB:
        found->symbols = (const void *)address;
        break;
    case DT_VERSYM:
        found->versions = (const void *)address;
        break;
    case DT_GNU_HASH:
        found->gnu_hash = (const void *)address;
        break;
    case DT_HASH:
        found->hash = (const void *)address;
        break;
    case DT_RELA:
        found->relocations = (const void *)address;
        break;
    case DT_RELASZ:
        found->relocation_count = value / sizeof(ElfW(Rela));
        break;
    case DT_RELACOUNT:
        found->relative_count = value;
        break;
    case DT_PLTGOT:
        found->plt_got = address;
        break;
    case DT_JMPREL:
        found->plt_relocations = (const void *)address;
        break;
    case DT_PLTRELSZ:
        found->plt_count = value / sizeof(ElfW(Rela)); /* x86-64 has no other kind */
        break;
    default:
        break;
    }
    return true;
}

static void finish(const struct walk *walk) {
    struct ia2_dynamic *found = walk->found;
    if (!found->relocations) {
        found->relocation_count = 0;
    }
    if (!found->plt_relocations) {
        found->plt_count = 0;
    }
    if (found->relative_count > found->relocation_count) {
        found->relative_count = found->relocation_count;
    }
    found->soname = walk->named && found->strings ? found->strings + walk->name : NULL;
}

const ElfW(Dyn) *ia2_dynamic_of(const struct dl_phdr_info *info) {
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            return (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    return NULL;
}

void ia2_dynamic_read(const struct ia2_object *object, struct ia2_dynamic *found) {
    *found = (struct ia2_dynamic){0};
    struct walk walk = {.base = object->base, .found = found};
    const ElfW(Dyn) *entry = object->dynamic;
    while (take(&walk, entry)) {
        entry++;
    }
    finish(&walk);
}

/* Copies entries. Only what may be closed costs a system call: mostly RELRO covers the section, and it never is. */
static bool fetch(const struct ia2_object *object, ElfW(Dyn) *to, uintptr_t from, size_t count) {
    const uintptr_t end = from + count * sizeof *to;
    for (uint32_t i = 0; i < object->range_count; i++) {
        if (from < object->ranges[i].end && object->ranges[i].start < end) {
            return ia2_peek(to, from, count * sizeof *to);
        }
    }
    for (size_t i = 0; i < count; i++) {
        to[i] = ((const ElfW(Dyn) *)from)[i];
    }
    return true;
}

bool ia2_dynamic_peek(const struct ia2_object *object, struct ia2_dynamic *found) {
    enum { BLOCK = 32, PAGE = 4096 };
    *found = (struct ia2_dynamic){0};
    struct walk walk = {.base = object->base, .found = found};
    ElfW(Dyn) entries[BLOCK];
    uintptr_t at = (uintptr_t)object->dynamic;
    while (at < object->end) {
        /* No page but those that the section is on: the next one may not be there. */
        const size_t left = (object->end - at) / sizeof *entries;
        size_t count = (PAGE - at % PAGE) / sizeof *entries;
        count = count < 1 ? 1 : count < BLOCK ? count : BLOCK;
        count = count < left ? count : left;
        if (count == 0 || !fetch(object, entries, at, count)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (!take(&walk, &entries[i])) {
                finish(&walk);
                return true;
            }
        }
        at += count * sizeof *entries;
    }
    return false; /* it does not end inside the object */
}
