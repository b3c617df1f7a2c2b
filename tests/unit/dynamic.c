/* The dynamic section in one walk, and questions to the symbol tables that it leads to; about the objects that this test consists of. */
#include "dynamic.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "objects.h"
#include "symbols.h"

enum { PAGE = 4096 };

TestSuite(dynamic, .timeout = 30);

/* The object that `address` lies in, as far as the walk needs it. */
static struct ia2_object object_at(const void *address) {
    struct dl_find_object found;
    cr_assert_eq(_dl_find_object((void *)address, &found), 0);
    return (struct ia2_object){.map = found.dlfo_link_map,
                               .base = found.dlfo_link_map->l_addr,
                               .dynamic = found.dlfo_link_map->l_ld,
                               .end = (uintptr_t)found.dlfo_map_end};
}

static struct ia2_object object_with(const char *function) {
    const void *address = dlsym(RTLD_DEFAULT, function);
    cr_assert_not_null(address, "%s", function);
    return object_at(address);
}

static struct ia2_dynamic tables_with(const char *function) {
    struct ia2_object object = object_with(function);
    struct ia2_dynamic tables;
    ia2_dynamic_read(&object, &tables);
    return tables;
}

Test(dynamic, names_are_those_that_objects_give_themselves) {
    cr_expect_str_eq(tables_with("gnu_get_libc_version").soname, "libc.so.6");
    cr_expect_str_eq(tables_with("_dl_mcount").soname, "ld-linux-x86-64.so.2");
    cr_expect_str_eq(tables_with("zlibVersion").soname, "libz.so.1");
    struct ia2_object program = object_at(&object_at);
    struct ia2_dynamic tables;
    ia2_dynamic_read(&program, &tables);
    cr_expect_null(tables.soname);
}

static int vdso_of(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct ia2_object *object = data;
    if (strcmp(info->dlpi_name, "linux-vdso.so.1") != 0) {
        return 0;
    }
    object->base = info->dlpi_addr;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            object->dynamic = (void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    return 1;
}

Test(dynamic, a_section_that_ld_so_does_not_relocate_is_read_too) {
    struct ia2_object vdso = {0};
    struct ia2_dynamic tables;
    cr_assert_eq(dl_iterate_phdr(vdso_of, &vdso), 1);
    ia2_dynamic_read(&vdso, &tables);
    cr_expect_str_eq(tables.soname, "linux-vdso.so.1");
    cr_expect(ia2_symbol_find(&tables, "__vdso_clock_gettime"));
}

Test(dynamic, tables_lie_in_the_object_and_their_sizes_are_right) {
    struct ia2_object object = object_with("zlibVersion");
    struct ia2_dynamic tables;
    ia2_dynamic_read(&object, &tables);
    const ElfW(Dyn) *last = (const void *)((uintptr_t)object.dynamic + tables.size - sizeof(ElfW(Dyn)));
    cr_expect_eq(last->d_tag, DT_NULL);
    cr_expect_neq(last[-1].d_tag, DT_NULL);
    const uintptr_t inside[] = {(uintptr_t)tables.strings,         (uintptr_t)tables.symbols,
                                (uintptr_t)tables.gnu_hash,        (uintptr_t)tables.relocations,
                                (uintptr_t)tables.plt_relocations, tables.plt_got};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        cr_expect_eq(object_at((const void *)inside[i]).base, object.base, "table %zu", i);
    }
    cr_assert_gt(tables.relocation_count, tables.relative_count);
    for (size_t i = 0; i < tables.relocation_count; i++) {
        const bool relative = ELF64_R_TYPE(tables.relocations[i].r_info) == R_X86_64_RELATIVE;
        cr_expect_eq(relative, i < tables.relative_count, "relocation %zu", i);
    }
    cr_assert_gt(tables.plt_count, 0);
}

Test(dynamic, a_closed_section_is_read_by_peeking) {
    struct ia2_object object = object_with("zlibVersion");
    struct ia2_dynamic open;
    struct ia2_dynamic closed;
    struct ia2_dynamic cut;
    ia2_dynamic_read(&object, &open);
    cr_assert_not_null(open.soname);
    /* RELRO has made its pages read-only; nothing in libz is called while they are closed. */
    const uintptr_t start = (uintptr_t)object.dynamic & ~(uintptr_t)(PAGE - 1);
    const size_t size = ((uintptr_t)object.dynamic + open.size - start + PAGE - 1) & ~(size_t)(PAGE - 1);
    cr_assert_eq(mprotect((void *)start, size, PROT_NONE), 0);
    object.ranges[0] = (struct ia2_range){start, start + size};
    object.range_count = 1;
    const bool whole = ia2_dynamic_peek(&object, &closed);
    object.end = (uintptr_t)object.dynamic + open.size - sizeof(ElfW(Dyn));
    const bool without_end = ia2_dynamic_peek(&object, &cut);
    cr_assert_eq(mprotect((void *)start, size, PROT_READ), 0);
    cr_assert(whole);
    cr_expect_eq(memcmp(&open, &closed, sizeof open), 0);
    cr_expect_not(without_end, "a section that runs out of its object is refused");
}

/* A made-up section at the end of a page or across it, with nothing mapped behind; closed as a whole, in parts, or not. */
Test(dynamic, a_section_is_read_wherever_it_lies_on_its_pages) {
    enum { COUNT = 5 };
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(munmap(pages + 2 * PAGE, PAGE), 0);
    for (size_t before = 8; before <= (COUNT + 1) * sizeof(ElfW(Dyn)); before += 8) {
        for (int closed = 0; closed < 4; closed++) {
            char *at = pages + (before < COUNT * sizeof(ElfW(Dyn)) ? PAGE : 2 * PAGE) - before;
            ElfW(Dyn) *entries = (void *)at;
            for (size_t i = 0; i < COUNT; i++) {
                entries[i].d_tag = i + 1 < COUNT ? DT_HASH : DT_NULL;
                entries[i].d_un.d_ptr = 1000 + i;
            }
            struct ia2_object object = {.dynamic = entries, .end = (uintptr_t)pages + 3 * PAGE};
            for (size_t page = 0; page < 2; page++) {
                if (closed >> page & 1) {
                    const uintptr_t start = (uintptr_t)pages + page * PAGE;
                    object.ranges[object.range_count++] = (struct ia2_range){start, start + PAGE};
                    cr_assert_eq(mprotect((void *)start, PAGE, PROT_NONE), 0);
                }
            }
            struct ia2_dynamic tables;
            const bool whole = ia2_dynamic_peek(&object, &tables);
            cr_assert_eq(mprotect(pages, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
            cr_expect(whole, "%zu bytes before the end of the page, closed %d", before, closed);
            cr_expect_eq(tables.size, COUNT * sizeof(ElfW(Dyn)));
            cr_expect_eq((uintptr_t)tables.hash, 1000 + COUNT - 2);
        }
    }
}

Test(dynamic, data_is_mentioned_by_who_defines_it_and_who_refers_to_it) {
    struct ia2_object program = object_at(&object_at);
    struct ia2_dynamic tables;
    cr_assert_not_null(stdout); /* a reference, copied or not */
    ia2_dynamic_read(&program, &tables);
    cr_expect(ia2_data_is_mentioned(&tables, "stdout"));
    cr_expect_not(ia2_data_is_mentioned(&tables, "optarg"));
    cr_expect_not(ia2_data_is_mentioned(&tables, ""));
    tables = tables_with("gnu_get_libc_version");
    cr_expect(ia2_data_is_mentioned(&tables, "stdout"));
    cr_expect(ia2_data_is_mentioned(&tables, "__environ"));
    cr_expect(ia2_data_is_mentioned(&tables, "_rtld_global"), "referred to, not defined");
    cr_expect_not(ia2_data_is_mentioned(&tables, "stdou"));
    tables = tables_with("zlibVersion");
    cr_expect_not(ia2_data_is_mentioned(&tables, "stdout"));
    tables = (struct ia2_dynamic){0};
    cr_expect_not(ia2_data_is_mentioned(&tables, "stdout"), "no tables at all");
}

Test(dynamic, symbols_are_defined_or_not) {
    const struct ia2_dynamic tables = tables_with("gnu_get_libc_version");
    cr_expect(ia2_symbol_find(&tables, "malloc"));
    cr_expect_not(ia2_symbol_find(&tables, "_rtld_global"));
    cr_expect_not(ia2_symbol_find(&tables, "mallo"));
    cr_expect_gt(ia2_symbol_count(&tables), 2000);
    cr_expect_eq(ia2_symbol_count(&(struct ia2_dynamic){0}), 0);
}
