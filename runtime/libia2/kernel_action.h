/* What the kernel takes for a signal's action (asm/signal.h); libc's struct is another. */
#ifndef IA2_KERNEL_ACTION_H
#define IA2_KERNEL_ACTION_H

#include <stdint.h>

#define IA2_SA_RESTORER 0x04000000ul

struct ia2_kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

#endif
