/* How ld.so is made to call our stubs: objects that are only a dynamic section and a link_map, and the real ones of this process. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "redirect.h"
#include "stubs.h"

void ia2_nothing(void) {}
void ia2_run_fini(uint32_t slot) { (void)slot; }
void ia2_run_init(int argc, char **argv, char **envp, uint32_t slot) { (void)argc, (void)argv, (void)envp, (void)slot; }
void ia2_run_key(void *value, uint32_t slot) { (void)value, (void)slot; }
void ia2_run_quick(uint32_t slot, int status) { (void)slot, (void)status; }

enum { PAGE = 4096, SLOT = 7 };

/* As ld.so has it: the public part, l_real, l_ns, l_libname, and the pointers by tag. */
struct whole_map {
    struct link_map public;
    void *more[3];
    const ElfW(Dyn) *info[64];
};

/* A dynamic section on a page that is read-only, as under RELRO, and a link_map on another. */
struct scene {
    struct ia2_object object;
    struct whole_map *map;
    ElfW(Dyn) *section, before[8];
};

static void *new_page(void) {
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(page, MAP_FAILED);
    return page;
}

static struct scene scene_with(bool array, bool fini) {
    struct scene scene = {.section = new_page(), .map = new_page()};
    struct ia2_object *object = &scene.object;
    size_t count = 0;
    object->base = 0x1000;
    object->map = &scene.map->public;
    object->dynamic = scene.section;
    object->dynamic_flags = PF_R | PF_W;
    object->relro_start = (uintptr_t)scene.section;
    object->relro_end = (uintptr_t)scene.section + PAGE;
    scene.section[count++] = (ElfW(Dyn)){.d_tag = DT_SONAME, .d_un.d_val = 1};
    if (fini) {
        object->fini = &scene.section[count];
        scene.section[count++] = (ElfW(Dyn)){.d_tag = DT_FINI, .d_un.d_ptr = 0x2000};
    }
    if (array) {
        object->fini_array = &scene.section[count];
        scene.section[count++] = (ElfW(Dyn)){.d_tag = DT_FINI_ARRAY, .d_un.d_ptr = 0x3000};
        object->fini_array_size = &scene.section[count];
        scene.section[count++] = (ElfW(Dyn)){.d_tag = DT_FINI_ARRAYSZ, .d_un.d_val = 24};
    }
    for (const ElfW(Dyn) *entry = scene.section; entry->d_tag != DT_NULL; entry++) {
        scene.map->info[entry->d_tag] = entry;
    }
    memcpy(scene.before, scene.section, sizeof scene.before);
    cr_assert_eq(mprotect(scene.section, PAGE, PROT_READ), 0);
    return scene;
}

static bool is_unchanged(const struct scene *scene) {
    return memcmp(scene->before, scene->section, sizeof scene->before) == 0;
}

static bool is_writable(void *page) {
    int file[2];
    cr_assert_eq(pipe(file), 0);
    cr_assert_eq(write(file[1], page, 1), 1);
    bool writable = read(file[0], page, 1) == 1; /* EFAULT where it is not */
    close(file[0]);
    close(file[1]);
    return writable;
}

/* What ld.so would run now (elf/dl-fini.c, _dl_call_fini). */
static void check_runs_stub(const struct scene *scene) {
    const ElfW(Dyn) *const *info = scene->map->info;
    const uintptr_t base = scene->object.base;
    if (scene->object.fini_array) {
        const uintptr_t *array = (const uintptr_t *)(base + info[DT_FINI_ARRAY]->d_un.d_ptr);
        cr_expect_eq(info[DT_FINI_ARRAYSZ]->d_un.d_val, sizeof *array);
        cr_expect_eq(array[0], ia2_fini_stub(SLOT));
    }
    if (scene->object.fini) {
        uintptr_t wanted = scene->object.fini_array ? (uintptr_t)ia2_nothing : ia2_fini_stub(SLOT);
        cr_expect_eq(base + info[DT_FINI]->d_un.d_ptr, wanted);
    }
}

Test(redirect, pointers_are_set_and_the_section_is_left_alone) {
    for (int what = 1; what < 4; what++) {
        struct scene scene = scene_with(what & 1, what & 2);
        cr_assert(ia2_redirect(&scene.object, SLOT));
        cr_expect(scene.object.pointed);
        cr_expect(is_unchanged(&scene));
        cr_expect(ia2_still_redirected(&scene.object, SLOT));
        cr_expect_eq(scene.map->info[DT_SONAME], &scene.section[0], "no other pointer");
        check_runs_stub(&scene);
    }
}

Test(redirect, another_object_in_its_place_is_noticed) {
    struct scene scene = scene_with(true, true);
    cr_assert(ia2_redirect(&scene.object, SLOT));
    scene.map->info[DT_FINI_ARRAY] = scene.object.fini_array; /* as ld.so sets it for an object that it loads */
    cr_expect_not(ia2_still_redirected(&scene.object, SLOT));
}

Test(redirect, pointers_elsewhere_are_not_believed) {
    const unsigned tags[] = {DT_FINI, DT_FINI_ARRAY, DT_FINI_ARRAYSZ};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene = scene_with(true, true);
        const ElfW(Dyn) *other = scene.map->info[tags[i]];
        scene.map->info[tags[i]] = &scene.section[0];
        cr_assert(ia2_redirect(&scene.object, SLOT));
        cr_expect_not(scene.object.pointed);
        cr_expect_eq(scene.map->info[tags[i]], &scene.section[0], "not touched");
        cr_expect(ia2_still_redirected(&scene.object, SLOT));
        cr_expect_not(is_writable(scene.section), "RELRO is closed again");
        scene.map->info[tags[i]] = other;
        check_runs_stub(&scene);
    }
}

Test(redirect, pointers_that_cannot_be_written_fault_nobody) {
    struct scene scene = scene_with(true, true);
    cr_assert_eq(mprotect(scene.map, PAGE, PROT_READ), 0);
    cr_assert(ia2_redirect(&scene.object, SLOT));
    cr_expect_not(scene.object.pointed);
    cr_expect_not(is_unchanged(&scene));
    check_runs_stub(&scene);
}

Test(redirect, where_nothing_can_be_written_nothing_is_changed) {
    struct scene scene = scene_with(true, true);
    int file = memfd_create("section", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(write(file, scene.section, PAGE), PAGE);
    cr_assert_eq(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0);
    cr_assert_eq(mmap(scene.section, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0), scene.section);
    cr_assert_eq(mprotect(scene.map, PAGE, PROT_READ), 0);
    cr_expect_not(ia2_redirect(&scene.object, SLOT));
    cr_expect(is_unchanged(&scene));
}

/* ---- initialisation, of objects that are not relocated yet ---- */

Test(redirect, initialisation_is_redirected_and_given_back) {
    const ElfW(Dyn) init = {.d_tag = DT_INIT, .d_un.d_ptr = 0x4000};
    for (int has = 0; has < 2; has++) {
        struct scene scene = scene_with(true, true);
        const ElfW(Dyn) *before = NULL;
        if (has) {
            cr_assert_eq(mprotect(scene.section, PAGE, PROT_READ | PROT_WRITE), 0);
            scene.section[0] = init;
            before = &scene.section[0];
            scene.map->info[DT_INIT] = before;
        }
        cr_assert(ia2_redirect_init(&scene.object, SLOT));
        const ElfW(Dyn) *now = scene.map->info[DT_INIT];
        cr_expect_neq(now, before);
        cr_expect_eq(scene.object.base + now->d_un.d_ptr, ia2_init_stub(SLOT));
        cr_expect_eq(scene.object.init, before);
        ia2_restore_init(&scene.object);
        cr_expect_eq(scene.map->info[DT_INIT], before);
        scene.map->info[DT_INIT] = &init;
        ia2_restore_init(&scene.object); /* once is enough */
        cr_expect_eq(scene.map->info[DT_INIT], &init);
    }
}

Test(redirect, initialisation_stays_where_the_pointer_is_not_believed) {
    struct scene scene = scene_with(true, true);
    const ElfW(Dyn) other = {.d_tag = DT_INIT, .d_un.d_ptr = 0x4000};
    scene.map->info[DT_INIT] = &other; /* the section has none */
    cr_expect_not(ia2_redirect_init(&scene.object, SLOT));
    cr_expect_eq(scene.map->info[DT_INIT], &other);
    scene = scene_with(true, true);
    cr_assert_eq(mprotect(scene.map, PAGE, PROT_READ), 0);
    cr_expect_not(ia2_redirect_init(&scene.object, SLOT));
    cr_expect_null(scene.map->info[DT_INIT]);
}

/* This glibc's link_maps are as we take them to be: else every test of the runtime runs on the other path, and nobody sees it. */
Test(redirect, the_pointers_of_this_glibc_are_where_they_should_be) {
    size_t seen = 0;
    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
        for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_FINI_ARRAY) {
                cr_expect_eq(((const struct whole_map *)map)->info[DT_FINI_ARRAY], entry, "%s", map->l_name);
                seen++;
            }
        }
    }
    cr_expect_gt(seen, 2);
}
