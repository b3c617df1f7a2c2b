/* The events of what ends a process before its time, or keeps it from ending: fault, stack. */
#include "dispatch.h"
#include "event_line.h"
#include "events.h"
#include "fault_words.h"
#include "guard.h"
#include "system.h"

void ia2_event_fault(const char *what, const char *detail) {
    if (ia2_event_may_write()) {
        struct ia2_line line;
        ia2_event_begin(&line, "fault");
        ia2_line_string(&line, "what", what);
        ia2_line_string(&line, "detail", detail ? detail : "");
        ia2_line_null(&line, "signal");
        ia2_line_null(&line, "code");
        ia2_line_null(&line, "address");
        ia2_line_null(&line, "instruction");
        ia2_line_null(&line, "destructor");
        struct ia2_stack none = {.count = 0};
        ia2_put_stack(&line, "stack", &none);
        ia2_event_send(&line);
    }
}

/* "signal", "code", "address"; the kernel gives the last one only for what an instruction did, and not always then. */
static void put_signal(struct ia2_line *line, const siginfo_t *info) {
    if (!info) {
        ia2_line_null(line, "signal");
        ia2_line_null(line, "code");
        ia2_line_null(line, "address");
        return;
    }
    bool fault =
        info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGILL || info->si_signo == SIGFPE;
    ia2_line_number(line, "signal", (uint64_t)info->si_signo);
    ia2_line_signed(line, "code", info->si_code);
    if (fault && info->si_code > 0 && info->si_code != SI_KERNEL) {
        ia2_line_hex(line, "address", (uintptr_t)info->si_addr);
    } else {
        ia2_line_null(line, "address");
    }
}

/* A system call that the runtime makes in the program's place: a signal that is sent by it arrives there. */
static bool is_trampoline(uintptr_t instruction) {
    return instruction - (uintptr_t)ia2_trampolines < (size_t)IA2_TRAMPOLINES * IA2_TRAMPOLINE_SIZE ||
           instruction - (uintptr_t)ia2_rearm_trampolines < (size_t)2 * IA2_TRAMPOLINES * IA2_TRAMPOLINE_SIZE;
}

/* "instruction", "destructor", "stack": what this thread was doing. */
static void put_doing(struct ia2_line *line, const ucontext_t *context) {
    struct ia2_stack stack;
    ia2_stack_take(&stack, context);
    if (stack.count > 1 && is_trampoline(stack.frames[0])) {
        ia2_stack_drop_first(&stack);
    }
    ia2_put_place(line, "instruction", stack.frames[0]);
    ia2_put_running(line, "destructor");
    ia2_put_stack(line, "stack", &stack);
}

/* What an event is made of, and the line that it becomes. */
struct report {
    const char *what, *detail;
    const siginfo_t *info; /* NULL: no signal is to blame */
    const ucontext_t *context;
    struct ia2_line line;
};

static void make_fault(void *argument) {
    struct report *report = argument;
    char words[IA2_FAULT_WORDS_MAX];
    if (report->info) {
        ia2_fault_words(words, report->info, report->context);
        report->detail = words;
    }
    ia2_event_begin(&report->line, "fault");
    ia2_line_string(&report->line, "what", report->what);
    ia2_line_string(&report->line, "detail", report->detail);
    put_signal(&report->line, report->info);
    put_doing(&report->line, report->context);
}

static void make_stack(void *argument) {
    struct report *report = argument;
    ia2_event_begin(&report->line, "stack");
    ia2_line_number(&report->line, "of", (uint64_t)ia2_gettid());
    put_doing(&report->line, report->context);
}

/* What the program has damaged may be what is told about it: then that is told. */
static void send(struct report *report, void (*make)(void *)) {
    uint64_t mask = ia2_guard_unblock();
    bool made = ia2_guard_run(make, report);
    ia2_guard_restore(mask);
    if (made) {
        ia2_event_send(&report->line);
    } else {
        ia2_event_fault(report->what, "more cannot be told: the memory that would tell it is damaged");
    }
}

void ia2_event_fault_signal(const char *what, int signal, const siginfo_t *info, const ucontext_t *context) {
    if (ia2_event_may_write()) {
        struct report report = {.what = what ? what : ia2_fault_name(signal), .info = info, .context = context};
        send(&report, make_fault);
    }
}

void ia2_event_timeout(const char *detail, const ucontext_t *context) {
    if (ia2_event_may_write()) {
        struct report report = {.what = "timeout", .detail = detail, .context = context};
        send(&report, make_fault);
    }
}

void ia2_event_stack(const ucontext_t *context) {
    if (ia2_event_may_write()) {
        struct report report = {.what = "timeout", .context = context};
        send(&report, make_stack);
    }
}
