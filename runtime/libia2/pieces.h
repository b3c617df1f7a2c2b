/* The memory that is closed in the exit phase, in pieces of one protection: what was closed must come back with the protection it had. */
#ifndef IA2_PIECES_H
#define IA2_PIECES_H

#include <stdint.h>

struct ia2_piece {
    uintptr_t start, end; /* whole pages */
    uint32_t slot;        /* of the object that it belongs to */
    uint16_t compartment; /* that object's, not 0 */
    uint8_t protection;   /* PROT_READ, or PROT_READ and PROT_WRITE */
    uint8_t state;        /* its user's; 0 at first */
};

#define IA2_PIECES_UNREADABLE UINT32_MAX /* the kernel's list of mappings could not be had */

/* Fills `pieces` with the ranges of all objects in compartments other than 0 as they are mapped now, sorted by address. Left out is what
 * is closed already, and what is executable (code that a program wrote there may be called from anywhere). Returns how many there are;
 * a number above `room` when they do not fit (then `pieces` has no meaning; programs rarely have more than two for an object), or
 * IA2_PIECES_UNREADABLE. No malloc, no locks: while no other thread changes the table of objects. */
uint32_t ia2_pieces_make(struct ia2_piece *pieces, uint32_t room);

/* The piece that `address` lies in, or NULL. Any time, signal handlers. */
const struct ia2_piece *ia2_piece_at(const struct ia2_piece *pieces, uint32_t count, uintptr_t address);

#endif
