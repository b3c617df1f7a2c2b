#include "glibc.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stddef.h>

#include "dynamic.h"
#include "patched.h"
#include "system.h"

/* The first that has _dl_find_object. */
enum { MAJOR = 2, LEAST_MINOR = 35 };

static unsigned long number_at(const char **at) {
    unsigned long number = 0;
    for (; **at >= '0' && **at <= '9' && number < 100000; ++*at) {
        number = 10 * number + (unsigned long)(**at - '0');
    }
    return number;
}

static bool knows_version(struct ia2_words *found) {
    const char *version = gnu_get_libc_version();
    const char *at = version;
    const unsigned long major = number_at(&at);
    const bool dotted = *at == '.';
    at += dotted;
    if (dotted && major == MAJOR && number_at(&at) >= LEAST_MINOR) {
        return true;
    }
    ia2_words_text(found, "glibc ");
    ia2_words_text(found, version);
    ia2_words_text(found, " was found: expected 2.35 or a later 2");
    return false;
}

/* ---- the link_maps, as dl_iterate_phdr and _dl_find_object show them ---- */

struct walk {
    struct ia2_words *found;
    bool ourselves; /* libia2.so was among them */
};

static void differ(struct ia2_words *found, const struct dl_phdr_info *info, const ElfW(Dyn) *dynamic,
                   const struct link_map *map) {
    ia2_words_text(found, "the link_map of ");
    ia2_words_text(found, info->dlpi_name[0] ? info->dlpi_name : "the program");
    ia2_words_text(found, " has base ");
    ia2_words_hex(found, map->l_addr);
    ia2_words_text(found, " and dynamic section ");
    ia2_words_hex(found, (uintptr_t)map->l_ld);
    ia2_words_text(found, ": expected ");
    ia2_words_hex(found, info->dlpi_addr);
    ia2_words_text(found, " and ");
    ia2_words_hex(found, (uintptr_t)dynamic);
    ia2_words_text(found, ", as dl_iterate_phdr has it");
}

/* Stops at the first object that is not as we know it. */
static int look(struct dl_phdr_info *info, size_t size, void *data) {
    struct walk *walk = data;
    if (size < offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs) {
        ia2_words_text(walk->found, "dl_iterate_phdr tells ");
        ia2_words_number(walk->found, size);
        ia2_words_text(walk->found, " bytes of an object: expected dlpi_adds and dlpi_subs, too");
        return 1;
    }
    if (info->dlpi_adds == 0) {
        ia2_words_text(walk->found, "dl_iterate_phdr counts no objects (dlpi_adds is 0): expected as many as came");
        return 1;
    }
    const ElfW(Dyn) *dynamic = ia2_dynamic_of(info);
    struct dl_find_object object;
    if (!dynamic || _dl_find_object((void *)dynamic, &object) != 0) {
        return 0; /* not relocated yet */
    }
    const struct link_map *map = object.dlfo_link_map;
    if (map->l_ld != dynamic || map->l_addr != info->dlpi_addr) {
        differ(walk->found, info, dynamic, map);
        return 1;
    }
    walk->ourselves = walk->ourselves || dynamic == _DYNAMIC;
    return 0;
}

static bool knows_objects(struct ia2_words *found) {
    struct walk walk = {.found = found};
    if (dl_iterate_phdr(look, &walk) != 0) {
        return false;
    }
    if (!walk.ourselves) {
        ia2_words_text(found, "dl_iterate_phdr and _dl_find_object do not show libia2.so: expected all loaded objects");
    }
    return walk.ourselves;
}

bool ia2_glibc_known(struct ia2_words *found) {
    ia2_words_begin(found, "");
    return knows_version(found) && knows_objects(found) && ia2_patched_known(found);
}
