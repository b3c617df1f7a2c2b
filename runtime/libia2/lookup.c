/* The public question: what does the exit map say of this address? */
#include <dlfcn.h>
#include <stddef.h>

#include "gate.h"
#include "identify.h"
#include "objects.h"

static const struct ia2_destructor *look_up(const void *function) {
    struct dl_find_object found;
    if (!ia2_map_loaded() || _dl_find_object((void *)(uintptr_t)function, &found) != 0) {
        return NULL;
    }
    uint32_t slot = ia2_object_at((uintptr_t)function);
    const struct ia2_map_object *listed =
        slot ? ia2_object(slot)->listed : ia2_find_listed(found.dlfo_map_start, found.dlfo_link_map);
    return listed ? ia2_map_destructor(listed, (uintptr_t)function - found.dlfo_link_map->l_addr, 0) : NULL;
}

const struct ia2_destructor *ia2_destructor_lookup(const void *function) {
    uint32_t before = ia2_gate_open();
    const struct ia2_destructor *found = look_up(function);
    ia2_gate_close(before);
    return found;
}
