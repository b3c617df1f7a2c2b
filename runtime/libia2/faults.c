/* Our handlers' bodies. Each opens what it needs; what PKRU was comes back when the handler returns. */
#include "backend.h"
#include "dispatch.h"
#include "events.h"
#include "frame.h"
#include "gate.h"
#include "guard.h"
#include "hang.h"
#include "probe.h"
#include "run.h"
#include "signals.h"
#include "system.h"
#include "violation.h"

/* A handler that returns to the instruction that failed meets the same fault again: once is enough to say it. */
static bool is_news(uintptr_t instruction, uintptr_t address) {
    static uintptr_t last[2] = {UINTPTR_MAX, 0}; /* no instruction is there */
    bool news = last[0] != instruction || last[1] != address;
    last[0] = instruction;
    last[1] = address;
    return news;
}

static bool is_from_kernel(const siginfo_t *info) { return info->si_code > 0; }

/* By its default action? An ignored signal that the kernel forces upon a process has that, too. */
static bool ends_process(int number, const siginfo_t *info) {
    uintptr_t wanted = ia2_signals_wanted(number);
    return wanted == (uintptr_t)SIG_DFL || (wanted == (uintptr_t)SIG_IGN && is_from_kernel(info));
}

/* Outside the exit, and while nothing is closed, the handler is there for other threads' sake only (backend.c). */
static void say(int number, const siginfo_t *info, ucontext_t *context) {
    if (!ia2_exiting() && !ia2_is_closing()) {
        return;
    }
    IA2_PROBE_FAULT(info);
    uintptr_t address = is_from_kernel(info) ? (uintptr_t)info->si_addr : 0;
    if (is_news(ia2_frame_ip(context), address)) {
        ia2_event_fault_signal(NULL, number, info, context);
    }
    if (ends_process(number, info)) {
        ia2_event_end("signal", IA2_STATUS_UNKNOWN);
        ia2_open_for_core(context);
    }
}

/* SIGTRAP or SIGSYS that is none of ours. Programs that handle them live on them: only a death is told. */
static void pass_on(int number, siginfo_t *info, ucontext_t *context) {
    if (!ends_process(number, info)) {
        ia2_signals_forward(number, info, context, false);
        return;
    }
    ia2_step_cancel(context);
    say(number, info, context);
    ia2_signals_end(number, info, context);
}

void ia2_on_fault(int number, siginfo_t *info, void *context) {
    ia2_handler_open();
    bool memory = (number == SIGSEGV || number == SIGBUS) && is_from_kernel(info);
    if (memory && number == SIGSEGV && ia2_close_admits((uintptr_t)info->si_addr)) {
        return;
    }
    if (memory && (ia2_guard_caught(context) || (number == SIGSEGV && ia2_touched_by_instruction(info, context)))) {
        return;
    }
    ia2_step_cancel(context);
    if (ends_process(number, info) || ia2_signals_wanted(number) > 1) {
        say(number, info, context);
    }
    ia2_signals_forward(number, info, context, is_from_kernel(info));
}

void ia2_on_trap(int number, siginfo_t *info, void *context) {
    ia2_handler_open();
    if (!ia2_step_done(info, context)) {
        pass_on(number, info, context);
    }
}

void ia2_on_dispatch(int number, siginfo_t *info, void *context) {
    enum { BY_DISPATCH = 2 }; /* SYS_USER_DISPATCH */
    ia2_handler_open();
    if (info->si_code == BY_DISPATCH && ia2_dispatch_armed()) {
        if (info->si_syscall == SYS_exit_group && ia2_close_lingers()) {
            ia2_dispatch_step_aside(context); /* the one call that looks at no memory */
            return;
        }
        ia2_close_admit_all();
        ia2_dispatch_handle(info, context);
        return;
    }
    pass_on(number, info, context);
}

void ia2_on_hang(int number, siginfo_t *info, void *context) {
    (void)number;
    ia2_handler_open();
    ia2_hang_dump(info, context);
}
