/* The event of a touch of closed memory. */
#include "event_line.h"
#include "events.h"
#include "guard.h"
#include "objects.h"
#include "violation.h"

#define SHORT_STRINGS 440u /* six of them leave room for a stack of ten and more */

static void put_syscall(struct ia2_line *line, const struct ia2_violation *violation) {
    if (violation->via == IA2_VIA_SYSCALL) {
        ia2_line_number(line, "syscall", (uint64_t)violation->syscall);
    } else {
        ia2_line_null(line, "syscall");
    }
}

static void put_victim(struct ia2_line *line, const struct ia2_violation *violation) {
    if (violation->victim >= 0) {
        ia2_line_number(line, "victim", (uint64_t)violation->victim);
        ia2_line_string(line, "victim_name", ia2_compartment_name((uint16_t)violation->victim));
    } else {
        ia2_line_null(line, "victim");
        ia2_line_null(line, "victim_name");
    }
}

struct report {
    const struct ia2_violation *violation;
    const ucontext_t *context;
    size_t string_max; /* 0: as usual */
    struct ia2_line line;
};

static void make(void *argument) {
    static const char *const access[] = {"read", "write", "unknown"};
    static const char *const action[] = {"opened", "ended", "abandoned"};
    struct report *report = argument;
    const struct ia2_violation *violation = report->violation;
    struct ia2_line *line = &report->line;
    ia2_event_begin(line, "violation");
    line->string_max = report->string_max ? report->string_max : line->string_max;
    ia2_put_running(line, "destructor");
    ia2_line_bool(line, "handler", violation->handler);
    ia2_line_string(line, "via", violation->via == IA2_VIA_SYSCALL ? "syscall" : "instruction");
    ia2_put_place(line, "instruction", violation->instruction);
    put_syscall(line, violation);
    ia2_put_place(line, "address", violation->address);
    put_victim(line, violation);
    ia2_line_string(line, "access", access[violation->access]);
    ia2_line_string(line, "action", action[violation->action]);
    struct ia2_stack stack;
    ia2_stack_take(&stack, report->context);
    ia2_put_stack(line, "stack", &stack);
}

void ia2_event_violation(const struct ia2_violation *violation, const ucontext_t *context) {
    if (!ia2_event_may_write()) {
        return;
    }
    struct report report = {.violation = violation, .context = context};
    uint64_t mask = ia2_guard_unblock();
    bool made = ia2_guard_run(make, &report);
    if (made && report.line.full) { /* six long paths are more than a line */
        report.string_max = SHORT_STRINGS;
        made = ia2_guard_run(make, &report);
    }
    ia2_guard_restore(mask);
    if (made) {
        ia2_event_send(&report.line);
    } else {
        ia2_event_fault("a touch of closed memory", "more cannot be told: the memory that would tell it is damaged");
    }
}
