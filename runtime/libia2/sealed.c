#include "sealed.h"

#include <stddef.h>
#include <sys/mman.h>

#include "switch.h"
#include "system.h"

_Static_assert(sizeof(union ia2_sealed) == IA2_SEALED_SIZE, "one page, and nobody else's data on it");
_Static_assert(offsetof(union ia2_sealed, wanted_alias) == IA2_SEALED_ALIAS, "switch.S reads it");
_Static_assert(offsetof(union ia2_sealed, legacy) == IA2_SEALED_LEGACY, "switch.S reads it");
_Static_assert(offsetof(union ia2_sealed, fsgsbase) == IA2_SEALED_FSGSBASE, "switch.S reads it");
_Static_assert(offsetof(union ia2_sealed, runtime_bits) == IA2_SEALED_BITS, "switch.S reads it");

union ia2_sealed ia2_sealed __attribute__((aligned(IA2_SEALED_SIZE), section(".data.ia2_sealed")));

bool ia2_seal(void) { return ia2_mprotect((uintptr_t)&ia2_sealed, sizeof ia2_sealed, PROT_READ) == 0; }
