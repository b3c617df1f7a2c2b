/* A small host runtime of the kind that IA2 is (libpku_host.so, shared): it owns the protection keys, has tagged the
 * pages of the objects that it was told of, and runs each compartment with its own rights on a stack of its own. */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stdint.h>

/* Compartments 1 to HOST_COMPARTMENTS. */
enum { HOST_COMPARTMENTS = 4 };

/* Allocates the keys; to be called once, with everything open, before any other function. */
void host_start(void);

/* Tags the object that `address` lies in: its writable pages, less RELRO, get the key of the compartment. */
void host_tag(uint32_t compartment, const void *address);

/* Hands keys and stacks over to ia2exit; its result. */
int host_attach(void);

/* Runs function(argument) with the rights of a compartment on the calling thread's stack for it. */
int host_call(uint32_t compartment, int (*function)(void *), void *argument);

/* PKRU with which a compartment runs, and the key of its pages. */
uint32_t host_pkru(uint32_t compartment);
int host_key(uint32_t compartment);

/* Whether the caller runs on its thread's stack for the compartment. */
bool host_on_stack(uint32_t compartment);

#endif
