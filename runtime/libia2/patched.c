#include "patched.h"

#include <dlfcn.h>
#include <link.h>

#include "gate.h"
#include "objects.h"
#include "run.h"
#include "sealed.h"
#include "takeover.h"

enum { VERSION = 1 };

/* In ld.so's own data. `run` returns 0 where it has run nothing: ld.so then does. */
struct fini_hook {
    unsigned long version;
    int (*run)(struct link_map *map);
};

extern struct fini_hook __ia2_dl_fini_hook __attribute__((weak, visibility("default")));

static const struct link_map *map_at(const void *address) {
    struct dl_find_object found;
    return _dl_find_object((void *)address, &found) == 0 ? found.dlfo_link_map : NULL;
}

bool ia2_patched_known(struct ia2_words *found) {
    const struct fini_hook *hook = &__ia2_dl_fini_hook;
    if (!hook) {
        return true;
    }
    const struct link_map *owner = map_at(hook);
    if (!owner || owner != map_at((const void *)_r_debug.r_ldbase)) {
        ia2_words_text(found, "__ia2_dl_fini_hook is in ");
        ia2_words_text(found, owner && owner->l_name[0] ? owner->l_name : "the program");
        ia2_words_text(found, ": expected none, or that of a patched ld.so");
        return false;
    }
    if (hook->version != VERSION) {
        ia2_words_text(found, "ld.so has version ");
        ia2_words_number(found, hook->version);
        ia2_words_text(found, " of __ia2_dl_fini_hook: expected 1");
        return false;
    }
    return true;
}

/* ld.so is about to run the destructors of an object. What it unloads is not known by the same link_map again. */
static int run(struct link_map *map) {
    uint32_t before = ia2_gate_open();
    const uint32_t slot = ia2_object_of(map);
    const bool ours = slot != IA2_NO_OBJECT && ia2_object(slot)->entry_count > 0;
    const bool unloaded = slot != IA2_NO_OBJECT && ia2_unloads();
    ia2_gate_close(before);
    if (ours) {
        ia2_run_fini(slot);
    } else if (unloaded) {
        before = ia2_gate_open();
        ia2_objects_finalised(slot);
        ia2_gate_close(before);
    }
    return ours;
}

void ia2_patched_take(void) {
    if (&__ia2_dl_fini_hook) {
        ia2_sealed.patched = true;
        __ia2_dl_fini_hook.run = run;
    }
}
