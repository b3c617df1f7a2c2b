/* Compartment 4: loaded by dlopen, never unloaded. */
#define OBJECT plugin_resident
#define COMPARTMENT 4
#include "destructors.h"
