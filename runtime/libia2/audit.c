/* What the audit module (runtime/audit) tells: each comes with ld.so's lock of loading held, in the thread that loads or unloads. */
#include "ia2_audit.h"

#include "audit.h"
#include "gate.h"
#include "objects.h"
#include "run.h"
#include "sealed.h"

static uint32_t module; /* written by the module, before our constructor */

bool ia2_audited(void) { return module == IA2_AUDIT_ABI; }

static void came(const struct link_map *map, Lmid_t space) {
    if (ia2_sealed.ready) {
        uint32_t before = ia2_gate_open();
        ia2_objects_coming(map, space);
        ia2_gate_close(before);
    }
}

static void consistent(void) {
    if (ia2_sealed.ready) {
        uint32_t before = ia2_gate_open();
        ia2_objects_sync();
        ia2_gate_close(before);
    }
}

/* ld.so says so of every object when the process exits, too, and unmaps nothing then (elf/dl-fini.c). */
static void goes(const struct link_map *map) {
    if (ia2_sealed.ready) {
        uint32_t before = ia2_gate_open();
        if (ia2_unloads()) {
            ia2_objects_going(map);
        }
        ia2_gate_close(before);
    }
}

extern const struct ia2_audit_interface ia2_audit_interface;
IA2_PUBLIC const struct ia2_audit_interface ia2_audit_interface = {
    .abi = IA2_AUDIT_ABI,
    .size = sizeof ia2_audit_interface,
    .module = &module,
    .came = came,
    .consistent = consistent,
    .goes = goes,
};
