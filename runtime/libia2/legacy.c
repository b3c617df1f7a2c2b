#include "legacy.h"

#include <cpuid.h>
#include <stdatomic.h>

#include "events.h"
#include "gate.h"

static _Atomic bool exiting;

static bool has_keys(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & (1u << 4)); /* OSPKE (Intel SDM volume 2, CPUID) */
}

void ia2_legacy_exit(const char *how, int status) {
    if (atomic_exchange(&exiting, true)) {
        return;
    }
    ia2_event_exit(how, status);
    if (has_keys()) {
        ia2_pkru_legacy();
    }
}
