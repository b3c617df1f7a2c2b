/* Objects in namespaces that dlmopen made. Each namespace has a libc of its own, in front of which LD_PRELOAD puts nobody; so the slots are
 * set through which the objects there call its registration functions. Covered: __cxa_atexit (and atexit) and __cxa_thread_atexit_impl. */
#ifndef IA2_NAMESPACE_H
#define IA2_NAMESPACE_H

#include "objects.h"

enum ia2_registration { IA2_CXA_ATEXIT, IA2_CXA_THREAD_ATEXIT, IA2_REGISTRATIONS };

typedef int (*ia2_registration_function)(void (*function)(void *), void *argument, void *dso);

/* Sets the slots of one relocated object that is not in the base namespace. Only under the lock of the table. */
void ia2_namespace_cover(const struct ia2_object *object);

/* The libc's function of the namespace that the object at `address` is in; the base namespace's where there is none. Behind an open
 * gate. */
ia2_registration_function ia2_namespace_real(uintptr_t address, enum ia2_registration which);

/* hooks_register.c: what the slots are set to. */
int ia2_namespace_cxa_atexit(void (*function)(void *), void *argument, void *dso);
int ia2_namespace_cxa_thread_atexit(void (*function)(void *), void *argument, void *dso);

#endif
