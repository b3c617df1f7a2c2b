/* What libia2_audit.so and libia2.so say to each other.
 *
 * The audit module lives in a namespace of its own, without a libc, and does nothing itself: it finds `ia2_audit_interface` in the
 * libia2.so of the base namespace, by name, and calls into it. libia2.so works without it; then it learns of objects at the next
 * registration, dlclose or exit, and of those in other namespaces (dlmopen) never. */
#ifndef IA2_AUDIT_INTERFACE_H
#define IA2_AUDIT_INTERFACE_H

#include <link.h>
#include <stdint.h>

/* Grows with every change of this file. Both sides refuse any other number. */
#define IA2_AUDIT_ABI 1u

/* The symbol; visible, so that the module finds it. It is nobody else's business. */
#define IA2_AUDIT_SYMBOL "ia2_audit_interface"

/* All functions are called with ld.so's lock of loading held, in whichever thread loads; they take no lock that is held while ld.so is
 * called, and return at once where the runtime has not started. */
struct ia2_audit_interface {
    uint32_t abi;     /* IA2_AUDIT_ABI; first, for ever */
    uint32_t size;    /* of this structure */
    uint32_t *module; /* where the module says that it is there: its IA2_AUDIT_ABI, before libia2.so starts */
    /* An object was mapped, in namespace `space`; it is not relocated yet. */
    void (*came)(const struct link_map *map, Lmid_t space);
    /* All that a dlopen brings has been mapped, or a dlclose is over. Nothing of it is relocated. */
    void (*consistent)(void);
    /* An object is about to be unmapped; or the process exits and its destructors have run. */
    void (*goes)(const struct link_map *map);
};

#endif
