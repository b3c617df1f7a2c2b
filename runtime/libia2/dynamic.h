/* The dynamic section of a loaded object, in one walk: where its tables are in memory (ELF gABI, "Dynamic Section"). */
#ifndef IA2_DYNAMIC_H
#define IA2_DYNAMIC_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia2_object;

/* What an object does not have is NULL or 0. */
struct ia2_dynamic {
    size_t size;        /* bytes of the section itself, DT_NULL included */
    const char *soname; /* DT_SONAME */
    const char *strings;
    const ElfW(Sym) *symbols;
    const ElfW(Half) *versions;     /* DT_VERSYM, one for each symbol */
    const uint32_t *gnu_hash; /* where both hash tables are there, both are set */
    const uint32_t *hash;
    const ElfW(Rela) *relocations; /* DT_RELA: all but those of the PLT */
    size_t relocation_count;
    size_t relative_count;       /* the first so many are R_X86_64_RELATIVE (DT_RELACOUNT) */
    uintptr_t plt_got;           /* DT_PLTGOT: .got.plt, or .got where that is all */
    const ElfW(Rela) *plt_relocations; /* DT_JMPREL */
    size_t plt_count;
};

/* The section of a loaded object as dl_iterate_phdr() shows it; NULL: it has none. Any time. */
const ElfW(Dyn) *ia2_dynamic_of(const struct dl_phdr_info *info);

/* Reads the section of `object`, of which `base` and `dynamic` must be known. Any thread, signal handlers; the section must be open. */
void ia2_dynamic_read(const struct ia2_object *object, struct ia2_dynamic *found);

/* The same where the section may be closed; needs `end` and the ranges, too. Returns false when it cannot be read. */
bool ia2_dynamic_peek(const struct ia2_object *object, struct ia2_dynamic *found);

#endif
