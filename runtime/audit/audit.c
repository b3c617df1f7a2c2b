/* libia2_audit.so, the LD_AUDIT module (rtld-audit(7)): tells libia2.so of objects that come and go. No libc, no data that ld.so would
 * have to give a thread: its namespace holds this file and nothing else. */
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dynamic.h"
#include "ia2_audit.h"
#include "objects.h"
#include "symbols.h"
#include "system.h"

#define PUBLIC __attribute__((visibility("default")))
#define NEEDED 2u /* LAV_CURRENT since glibc 2.35: older ones call us at other moments */

static const struct link_map *runtime;              /* libia2.so in the base namespace */
static const struct ia2_audit_interface *interface; /* NULL: not found yet, or not to be used */
static bool looked;

static void say(const char *what, const char *more) {
    const char *const parts[] = {"libia2_audit.so: ", what, more, "\n"};
    char line[256];
    size_t length = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (const char *at = parts[i]; *at && length < sizeof line; at++) {
            line[length++] = *at;
        }
    }
    (void)ia2_syscall3(SYS_write, 2, (long)line, (long)length);
}

/* At the base namespace's first consistent state: everything of the start is mapped and relocated, and no constructor has run. */
static void look_for_runtime(void) {
    looked = true;
    if (!runtime) {
        say("libia2.so is not loaded, so nothing is done: ", "name it in LD_PRELOAD, or link with it");
        return;
    }
    const struct ia2_object object = {.base = runtime->l_addr, .dynamic = runtime->l_ld};
    struct ia2_dynamic tables;
    ia2_dynamic_read(&object, &tables);
    const ElfW(Sym) *symbol = ia2_symbol_find(&tables, IA2_AUDIT_SYMBOL);
    const struct ia2_audit_interface *found = symbol ? (const void *)(object.base + symbol->st_value) : NULL;
    if (!found || found->abi != IA2_AUDIT_ABI || found->size != sizeof *found) {
        say("is of another version than ", "libia2.so, so objects that come by dlopen are learnt of late: "
                                           "take both from one build");
        return;
    }
    *found->module = IA2_AUDIT_ABI;
    interface = found;
}

PUBLIC unsigned la_version(unsigned version);
PUBLIC unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie);
PUBLIC void la_activity(uintptr_t *cookie, unsigned flag);
PUBLIC unsigned la_objclose(uintptr_t *cookie);

unsigned la_version(unsigned version) { return version < NEEDED ? 0 : NEEDED; }

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    *cookie = (uintptr_t)map;
    if (interface) {
        interface->came(map, space);
    } else if (space == LM_ID_BASE && !looked && ia2_equal(ia2_base_name(map->l_name), "libia2.so")) {
        runtime = map;
    }
    return 0; /* no binding of a symbol concerns us */
}

void la_activity(uintptr_t *cookie, unsigned flag) {
    (void)cookie;
    if (flag != LA_ACT_CONSISTENT) {
        return;
    }
    if (!looked) {
        look_for_runtime();
    } else if (interface) {
        interface->consistent();
    }
}

unsigned la_objclose(uintptr_t *cookie) {
    if (interface) {
        interface->goes((const struct link_map *)*cookie);
    }
    return 0;
}
