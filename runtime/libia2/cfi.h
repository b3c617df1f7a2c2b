/* Call frame information: from a frame to its caller's (DWARF 5, section 6.4, in the form of .eh_frame: LSB 5.0, chapter 10).
 *
 * Why not libgcc's unwinder: which locks and which memory it takes on this way depends on the compiler that builds us, it calls abort()
 * where it finds something odd, and it can neither start at a context nor go past an address without code.
 * Here nothing is held and nothing allocated: it may run in a signal handler, and be left at any point (guard.h). */
#ifndef IA2_CFI_H
#define IA2_CFI_H

#include "bytes.h"

/* Registers by their DWARF numbers (psABI, figure 3.36). */
enum { IA2_RBP = 6, IA2_RSP = 7, IA2_RIP = 16, IA2_FRAME_REGISTERS = 17 };

struct ia2_frame {
    uintptr_t reg[IA2_FRAME_REGISTERS];
    bool exact; /* rip is the very instruction, not the return address of a call */
};

/* What is written down for one function. */
struct ia2_cfi {
    uintptr_t function, size; /* the code that it covers */
    uint64_t code_alignment;
    int64_t data_alignment;
    bool signal_frame;                 /* the frame that the kernel made for a handler */
    struct ia2_bytes initial, program; /* instructions, of the CIE and of the FDE */
};

/* Finds what covers `address`. Takes no lock. Reads the object's .eh_frame, which is trusted as code is. */
bool ia2_cfi_find(uintptr_t address, struct ia2_cfi *cfi);

/* Turns `frame`, which is in the function of `cfi`, into its caller's; rip 0: there is none. Returns false, with `frame` as it was,
 * when the instructions make no sense. Reads the stack: under ia2_guard_run(). */
bool ia2_cfi_step(const struct ia2_cfi *cfi, struct ia2_frame *frame);

/* The value of a DWARF expression, with `cfa` on its stack to begin with unless it is NULL. There are no jumps in expressions of
 * call frames, and none are followed, so it always ends. */
bool ia2_cfi_evaluate(struct ia2_bytes expression, const struct ia2_frame *frame, const uintptr_t *cfa,
                      uintptr_t *value);

#endif
