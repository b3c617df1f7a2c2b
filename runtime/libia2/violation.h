/* Touches of closed memory: what is let through, what is reported, and what happens then. In handlers of ours only. */
#ifndef IA2_VIOLATION_H
#define IA2_VIOLATION_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

enum ia2_via { IA2_VIA_INSTRUCTION, IA2_VIA_SYSCALL };
enum ia2_access { IA2_READ, IA2_WRITE, IA2_ACCESS_UNKNOWN };
enum ia2_action { IA2_OPENED, IA2_ENDED, IA2_ABANDONED };

struct ia2_violation {
    enum ia2_via via;
    enum ia2_access access;
    enum ia2_action action;
    uintptr_t address;     /* touched */
    uintptr_t instruction; /* that touched it, or made the system call */
    long syscall;          /* its number; counts where via says so */
    bool known;            /* the address is */
    bool handler;          /* a signal handler of the program's did it */
    int victim;            /* compartment, -1: none */
};

/* SIGSEGV: was it a touch of closed memory? Then it has been dealt with, and the handler returns at once. */
bool ia2_touched_by_instruction(const siginfo_t *info, ucontext_t *context);

/* SIGTRAP: the one instruction is done for which pages were opened. False: the trap is somebody else's. */
bool ia2_step_done(const siginfo_t *info, ucontext_t *context);
/* The instruction that was to be stepped over failed otherwise: as if it had not begun. */
void ia2_step_cancel(ucontext_t *context);

void ia2_event_violation(const struct ia2_violation *violation, const ucontext_t *context);

#endif
