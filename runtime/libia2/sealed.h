/* What the constructor decides, and what every hook must be able to read in any state: written until ia2_seal(), read-only afterwards,
 * and under no protection key. */
#ifndef IA2_SEALED_H
#define IA2_SEALED_H

#include <stdbool.h>
#include <stdint.h>

#include "real.h"

enum ia2_backend_kind { IA2_BACKEND_NONE, IA2_BACKEND_MPROTECT, IA2_BACKEND_PKU };
enum ia2_mode { IA2_OBSERVE, IA2_ENFORCE, IA2_CONTAIN };

#define IA2_SEALED_SIZE 4096u

union ia2_sealed {
    struct {
        const uint32_t *wanted_alias; /* by thread slot: the PKRU that was meant; read-only for everyone (switch.S) */
        uint32_t runtime_bits;        /* the two bits in PKRU of the runtime's own key, 0: it has none */
        bool fsgsbase;                /* RDFSBASE is allowed */
        bool legacy;                  /* IA2_EXIT_FORCE_LEGACY: hooks pass on, exit drops all protection (legacy.h) */
        uint32_t pkru_offset;         /* of PKRU in the XSAVE area of a signal frame */
        uint32_t *wanted;             /* the same memory as wanted_alias, for the runtime to write */
        struct ia2_real real;
        bool ready;              /* the runtime is set up: hooks may do more than pass on */
        bool tracing;            /* events go out */
        bool watching;           /* events or counters go out */
        bool allow_all;          /* IA2_EXIT_ALLOW_ALL: every destructor gets all rights */
        bool park;               /* IA2_EXIT_PARK_THREADS */
        bool enforcing;          /* the backend closes memory */
        bool patched;            /* ld.so calls us for what it finalises (patched.h) */
        uint8_t backend;         /* enum ia2_backend_kind */
        uint8_t mode;            /* enum ia2_mode */
        uint8_t runtime_key;     /* of the runtime's own memory, 0: it has none */
        const char *backend_why; /* why `auto` did not take pku, or NULL */
    };
    char page[IA2_SEALED_SIZE];
};

extern union ia2_sealed ia2_sealed;

/* Fills `real` once; later calls return at once. The constructor calls it, and any hook that is called before it. */
void ia2_real_resolve_now(void);
static inline void ia2_real_resolve(void) {
    if (__builtin_expect(!ia2_sealed.real.cxa_atexit, 0)) {
        ia2_real_resolve_now();
    }
}

/* Makes it read-only, once. Returns false where the kernel refused: it works all the same. */
bool ia2_seal(void);

#endif
