/* A library that takes long to relocate, most of it in the pages that RELRO closes and that .dynamic shares. -DCLAIM=N: its note
 * claims that compartment; -DQUICK: a handler for quick_exit. */
#include <stdlib.h>

#include "ia2_exit.h"

#ifdef CLAIM
IA2_EXIT_COMPARTMENT(CLAIM);
#endif

#ifdef RELOCATIONS
__asm__(".pushsection .data.rel.ro, \"aw\"\n"
        "table: .rept " RELOCATIONS "\n"
        ".quad table\n"
        ".endr\n"
        ".popsection\n");
#endif

#ifdef QUICK
static void at_quick(void) {}
__attribute__((constructor)) static void constructor(void) { at_quick_exit(at_quick); }
#endif

__attribute__((destructor)) static void destructor(void) {}
