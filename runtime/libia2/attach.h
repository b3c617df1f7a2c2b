/* A host runtime that owns protection keys and has tagged its own pages (ia2_exit_attach() in ia2_exit.h). */
#ifndef IA2_ATTACH_H
#define IA2_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

bool ia2_host_attached(void);
/* PKRU with which the host's shared memory and compartment `id` are open. */
uint32_t ia2_host_pkru(uint16_t id);
/* The compartment whose own rights this PKRU is; -1: none, or no host. */
int ia2_host_compartment(uint32_t pkru);
/* The calling thread's stack for that compartment; NULL: the present one. */
void *ia2_host_stack(uint16_t id);

#endif
