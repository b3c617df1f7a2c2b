/* Compartment 2: a C library that the program is linked with. */
#define OBJECT library
#define COMPARTMENT 2
#include "destructors.h"

#include "library.h"

/* ---- for the scenario `crossed`: handlers and handles that another object registers with ---- */

void *library_dso_handle(void) { return &__dso_handle; }

void library_borrowed(void *argument) { log_ran("cxa_atexit", __func__, "argument", *(int *)argument); }

void library_borrowed_on_exit(int status, void *argument) {
    (void)argument;
    log_ran("on_exit", __func__, "status", status);
}
