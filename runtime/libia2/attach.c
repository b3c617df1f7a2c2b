#include "attach.h"

#include <errno.h>
#include <stddef.h>

#include "gate.h"
#include "ia2_exit.h"
#include "run.h"

static struct ia2_exit_host host; /* size 0: nobody is attached */

bool ia2_host_attached(void) { return host.size != 0; }

uint32_t ia2_host_pkru(uint16_t id) {
    int key = id == 0 ? -1 : host.key_of(id);
    return key > 0 && key <= (int)IA2_LAST_KEY ? host.shared_pkru & ~ia2_key_bits((unsigned)key) : host.shared_pkru;
}

int ia2_host_compartment(uint32_t pkru) {
    const uint32_t bits = ia2_sealed.runtime_bits;
    for (uint16_t id = 1; host.size != 0 && id <= IA2_LAST_KEY; id++) {
        uint32_t own = ia2_host_pkru(id) | bits;
        if (own == (pkru | bits) && own != (host.shared_pkru | bits)) {
            return id;
        }
    }
    return -1;
}

void *ia2_host_stack(uint16_t id) { return host.size != 0 && host.stack_of ? host.stack_of(id) : NULL; }

static int attach(const struct ia2_exit_host *given) {
    if (!given || given->size != sizeof *given || !given->key_of || (given->shared_pkru & 3u) != 0) {
        return -EINVAL;
    }
    if (ia2_sealed.backend != IA2_BACKEND_PKU) {
        return -ENOTSUP;
    }
    if (host.size != 0 || ia2_exiting()) {
        return -EBUSY;
    }
    host = *given;
    return 0;
}

int ia2_exit_attach(const struct ia2_exit_host *given) {
    uint32_t before = ia2_gate_open();
    int result = attach(given);
    ia2_gate_close(before);
    return result;
}
