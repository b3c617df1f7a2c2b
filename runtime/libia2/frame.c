#include "frame.h"

#include "sealed.h"

#define XSAVE_MAGIC 0x46505853u /* FP_XSTATE_MAGIC1, arch/x86/include/uapi/asm/sigcontext.h: an XSAVE area follows */
#define MAGIC_AT 464u           /* struct _fpx_sw_bytes at the end of the FXSAVE area: magic, size, features, size */
#define HEADER_AT 512u          /* XSTATE_BV: which parts of the area count (Intel SDM volume 1, section 13.4.2) */
#define PKRU_BIT (1ul << 9)

static char *area_of(const ucontext_t *context) {
    char *area = (char *)context->uc_mcontext.fpregs;
    if (!area || !ia2_sealed.pkru_offset || *(const uint32_t *)(area + MAGIC_AT) != XSAVE_MAGIC ||
        !(*(const uint64_t *)(area + MAGIC_AT + 8) & PKRU_BIT)) {
        return NULL;
    }
    return area;
}

uint32_t ia2_frame_pkru(const ucontext_t *context) {
    const char *area = area_of(context);
    if (!area || !(*(const uint64_t *)(area + HEADER_AT) & PKRU_BIT)) {
        return 0; /* in its initial state */
    }
    return *(const uint32_t *)(area + ia2_sealed.pkru_offset);
}

bool ia2_frame_set_pkru(ucontext_t *context, uint32_t pkru) {
    char *area = area_of(context);
    if (!area) {
        return false;
    }
    *(uint64_t *)(area + HEADER_AT) |= PKRU_BIT;
    *(uint32_t *)(area + ia2_sealed.pkru_offset) = pkru;
    return true;
}
