/* Where the tables of an object are, found independently of the runtime: from its program headers and ld.so's own look-ups. */
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>

#include "touched.h"

struct search {
    const void *code;
    struct tables found;
};

static int find(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct search *search = data;
    bool here = false;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const char *start = (const char *)info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && (const char *)search->code >= start &&
            (const char *)search->code < start + segment->p_memsz) {
            here = true;
        } else if (segment->p_type == PT_DYNAMIC) {
            search->found.dynamic = start;
        } else if (segment->p_type == PT_TLS) {
            search->found.thread_initial = start;
        }
    }
    return here;
}

struct tables tables_of(const void *code) {
    struct search search = {.code = code};
    const ElfW(Rela) *plt = NULL;
    const ElfW(Rela) *other = NULL;
    size_t count = 0;
    Dl_info where;
    if (dl_iterate_phdr(find, &search) != 1 || !dladdr(code, &where)) {
        abort();
    }
    struct tables *found = &search.found;
    const char *base = where.dli_fbase;
    const ElfW(Dyn) *entry = (const void *)found->dynamic;
    for (; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_PLTGOT) {
            found->plt_got = (const char *)entry->d_un.d_ptr;
        } else if (entry->d_tag == DT_JMPREL) {
            plt = (const void *)entry->d_un.d_ptr;
        } else if (entry->d_tag == DT_RELA) {
            other = (const void *)entry->d_un.d_ptr;
        } else if (entry->d_tag == DT_RELASZ) {
            count = entry->d_un.d_val / sizeof *other;
        }
    }
    found->dynamic_end = (const char *)(entry + 1); /* the segment has room for more */
    found->plt_slot = base + plt->r_offset;
    for (size_t i = 0; i < count; i++) {
        if (ELF64_R_TYPE(other[i].r_info) == R_X86_64_GLOB_DAT) {
            found->got_slot = base + other[i].r_offset;
        }
    }
    return *found;
}
