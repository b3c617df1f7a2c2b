/* `compartment_fini` loads and unloads it again and again, from two files in two compartments (-DCOMPARTMENT=6 and 7). Each of its
 * destructors changes data of its own and counts, in memory that is no compartment's. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "fini_plugin.h"
#include "ia2_exit_note.h"

IA2_EXIT_COMPARTMENT(COMPARTMENT);

static _Atomic long *count;
static long own[1024] = {1}; /* pages of its own */

static void use(void) {
    own[0]++;
    own[1023]++;
    atomic_fetch_add(count, 1);
}

static void handler(void) { use(); }
static void object_handler(void *unused) {
    (void)unused;
    use();
}

extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_atexit(void (*function)(void *), void *argument, void *dso);

/* FINI_DESTRUCTORS of them, with the destructor below and the two that the compiler's start files bring (.fini_array, DT_FINI). */
int fini_plugin_register(_Atomic long *given) {
    count = given;
    return atexit(handler) || __cxa_atexit(object_handler, own, &__dso_handle);
}

__attribute__((destructor)) static void destructor(void) { use(); }
