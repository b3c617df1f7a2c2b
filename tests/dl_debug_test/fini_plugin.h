/* What fini_plugin.c offers to compartment_fini.c. */
#ifndef DL_DEBUG_FINI_PLUGIN_H
#define DL_DEBUG_FINI_PLUGIN_H

/* Destructors of one load: two handlers, its own .fini_array entry, and the compiler's entry and DT_FINI. */
#define FINI_DESTRUCTORS 5
#define FINI_COUNTED 3 /* of these count */

int fini_plugin_register(_Atomic long *count);

#endif
