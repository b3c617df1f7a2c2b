/* The context that the kernel leaves for a signal handler: PKRU of the interrupted code, and what kind of fault it was. */
#ifndef IA2_FRAME_H
#define IA2_FRAME_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#ifndef SEGV_PKUERR
#define SEGV_PKUERR 4
#endif

/* PKRU lies in the frame's XSAVE area; writing the register in the handler would be lost at return. Backend pku only. */
uint32_t ia2_frame_pkru(const ucontext_t *context);
/* Returns false where the frame has no place for it. */
bool ia2_frame_set_pkru(ucontext_t *context, uint32_t pkru);

static inline uintptr_t ia2_frame_ip(const ucontext_t *context) {
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

/* Bits of the error code of a page fault (Intel SDM volume 3, section 4.7). */
static inline bool ia2_frame_is_page_fault(const ucontext_t *context) {
    return context->uc_mcontext.gregs[REG_TRAPNO] == 14;
}
static inline bool ia2_frame_was_write(const ucontext_t *context) {
    return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0;
}
static inline bool ia2_frame_was_fetch(const ucontext_t *context) {
    return (context->uc_mcontext.gregs[REG_ERR] & 16) != 0;
}

#define IA2_TRAP_FLAG 0x100 /* in EFLAGS: SIGTRAP after the next instruction */

#endif
