#include "legacy.h"

#include <cpuid.h>
#include <stdatomic.h>

#include "events.h"

static _Atomic bool exiting;

/* PKRU = 0, which legacy mode is about. */
static void open_all(void) { __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0), "c"(0), "d"(0) : "memory"); }

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
        open_all();
    }
}
