/* Compartment 5: loaded by dlopen and unloaded again before the program ends. */
#define OBJECT plugin_unloaded
#define COMPARTMENT 5
#define OUTLIVED
#include "destructors.h"
