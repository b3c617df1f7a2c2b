#include "step.h"

#include <sys/mman.h>

#include "backend.h"
#include "frame.h"
#include "objects.h"
#include "probe.h"
#include "run.h"
#include "system.h"
#include "tally.h"
#include "violation.h"

bool ia2_step_over(ucontext_t *context, const struct ia2_piece *piece, uintptr_t address, uint32_t key_bits) {
    struct ia2_thread *thread = ia2_self();
    if (thread->stepping == IA2_STEP_PAGES) {
        return false;
    }
    if (thread->stepping == 0) {
        thread->trap_flag = (context->uc_mcontext.gregs[REG_EFL] & IA2_TRAP_FLAG) != 0;
        thread->step_pkru = key_bits ? ia2_frame_pkru(context) : 0;
    }
    uintptr_t page = address & ~(uintptr_t)(IA2_PAGE - 1);
    if (key_bits) {
        ia2_frame_set_pkru(context, ia2_frame_pkru(context) & ~key_bits);
    } else {
        ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
        if (ia2_mprotect(page, IA2_PAGE, piece->protection) != 0) {
            return false;
        }
    }
    thread->step_pages[thread->stepping++] = page;
    IA2_PROBE_STEP(thread);
    context->uc_mcontext.gregs[REG_EFL] |= IA2_TRAP_FLAG;
    return true;
}

static void end_step(struct ia2_thread *thread, ucontext_t *context) {
    if (ia2_sealed.backend == IA2_BACKEND_PKU) {
        ia2_frame_set_pkru(context, thread->step_pkru);
    }
    for (uint8_t i = 0; i < thread->stepping && ia2_sealed.backend == IA2_BACKEND_MPROTECT; i++) {
        const struct ia2_piece *piece = ia2_closed_at(thread, thread->step_pages[i]);
        if (piece) {
            ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
            ia2_mprotect(thread->step_pages[i], IA2_PAGE, ia2_opened_with(thread, thread->step_pages[i]));
        }
    }
    thread->stepping = 0;
    if (!thread->trap_flag) {
        context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)IA2_TRAP_FLAG;
    }
}

bool ia2_step_done(const siginfo_t *info, ucontext_t *context) {
    struct ia2_thread *thread = ia2_self();
    if (thread->stepping == 0 || info->si_code <= 0) {
        return false;
    }
    end_step(thread, context);
    return !thread->trap_flag; /* a program that steps through itself gets its trap, too */
}

void ia2_step_cancel(ucontext_t *context) {
    struct ia2_thread *thread = ia2_self();
    if (thread->stepping != 0) {
        end_step(thread, context);
    }
}
