/* The event of a touch of closed memory. */
#include "event_line.h"
#include "events.h"
#include "objects.h"
#include "unwind.h"
#include "violation.h"

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

void ia2_event_violation(const struct ia2_violation *violation, const ucontext_t *context) {
    static const char *const access[] = {"read", "write", "unknown"};
    static const char *const action[] = {"opened", "ended", "abandoned"};
    if (!ia2_event_may_write()) {
        return;
    }
    struct ia2_line line;
    ia2_event_begin(&line, "violation");
    ia2_put_running(&line, "destructor");
    ia2_line_bool(&line, "handler", violation->handler);
    ia2_line_string(&line, "via", violation->via == IA2_VIA_SYSCALL ? "syscall" : "instruction");
    ia2_put_place(&line, "instruction", violation->instruction);
    put_syscall(&line, violation);
    ia2_put_place(&line, "address", violation->address);
    put_victim(&line, violation);
    ia2_line_string(&line, "access", access[violation->access]);
    ia2_line_string(&line, "action", action[violation->action]);
    uintptr_t frames[IA2_UNWIND_MAX];
    ia2_put_stack(&line, "stack", frames, ia2_unwind(context, frames, IA2_UNWIND_MAX));
    ia2_event_send(&line);
}
