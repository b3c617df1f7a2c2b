/* Every instruction of a call, interrupted: the caller is found, with the registers that it had. */
#include "switch.h"

#include <criterion/criterion.h>
#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "cfi.h"
#include "gate.h"
#include "sealed.h"
#include "unwind.h"

/* libgcc's, of <unwind.h>: a header of the runtime has that name, too. */
int _Unwind_Backtrace(int (*each)(void *context, void *argument), void *argument);
uintptr_t _Unwind_GetIP(void *context);
uintptr_t _Unwind_GetGR(void *context, int number);
enum { GO_ON = 0, STOP = 5 /* _URC_NO_REASON, _URC_END_OF_STACK */ };

#define SLOT 5u
#define OWN_STACK 65536
#define TRAP_FLAG 0x100

uintptr_t ia2_call_sp[2 * IA2_THREADS]; /* run.c's, in the runtime */

static uint32_t wanted[2 * IA2_THREADS];
static char own_stack[OWN_STACK] __attribute__((aligned(16)));

/* The caller: a value of its own in each register that is kept; `caller_returns` is where the call comes back to. */
void call_with_values(uintptr_t function, const struct ia2_call *call);
extern const char caller_returns[];
__asm__(
    ".text\ncall_with_values:\n.cfi_startproc\n"
    /* Where the compiler keeps frame pointers, the frames above this one are found by the RBP that is saved here. */
    ".irp register, rbx, rbp, r12, r13, r14, r15\n"
    "pushq %\\register\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %\\register, 0\n"
    ".endr\n"
    "subq $8, %rsp\n.cfi_adjust_cfa_offset 8\n"
    "movq %rdi, %rax\nmovq %rsi, %rdi\n"
    "movq $103, %rbx\nmovq $106, %rbp\nmovq $112, %r12\nmovq $113, %r13\nmovq $114, %r14\nmovq $115, %r15\n"
    "call *%rax\ncaller_returns:\n"
    "addq $8, %rsp\n.cfi_adjust_cfa_offset -8\n"
    ".irp register, r15, r14, r13, r12, rbp, rbx\n"
    "popq %\\register\n.cfi_adjust_cfa_offset -8\n.cfi_restore %\\register\n"
    ".endr\n"
    "ret\n.cfi_endproc\n");

/* Callee-saved registers by their DWARF numbers, and what the caller had in them. */
static const struct {
    int number;
    uintptr_t value;
} kept[] = {{3, 103}, {6, 106}, {12, 112}, {13, 113}, {14, 114}, {15, 115}};
#define KEPT (sizeof kept / sizeof *kept)

/* ---- what two unwinders say ----------------------------------------------------------------------------------------------------- */

struct caller {
    uintptr_t reg[17]; /* by DWARF number */
    bool found;
};

/* Of libgcc: the frame that returns to the caller. */
static int look_for_caller(void *context, void *argument) {
    struct caller *caller = argument;
    if (_Unwind_GetIP(context) != (uintptr_t)caller_returns) {
        return GO_ON;
    }
    for (size_t i = 0; i < KEPT; i++) {
        caller->reg[kept[i].number] = _Unwind_GetGR(context, kept[i].number);
    }
    caller->found = true;
    return STOP;
}

/* Of the runtime: steps until the frame that returns to the caller. */
static struct caller step_to_caller(const ucontext_t *context) {
    static const int by_dwarf[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
                                   REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    struct ia2_frame frame = {.exact = true};
    struct caller caller = {.found = false};
    struct ia2_cfi cfi;
    for (unsigned i = 0; i < IA2_FRAME_REGISTERS; i++) {
        frame.reg[i] = (uintptr_t)context->uc_mcontext.gregs[by_dwarf[i]];
    }
    for (unsigned i = 0; i < 8 && frame.reg[IA2_RIP] != (uintptr_t)caller_returns; i++) {
        uintptr_t at = frame.reg[IA2_RIP] - (frame.exact ? 0 : 1);
        if (!ia2_cfi_find(at, &cfi) || !ia2_cfi_step(&cfi, &frame)) {
            return caller;
        }
    }
    caller.found = frame.reg[IA2_RIP] == (uintptr_t)caller_returns;
    memcpy(caller.reg, frame.reg, sizeof frame.reg);
    return caller;
}

static bool is_right(const struct caller *caller) {
    bool right = caller->found;
    for (size_t i = 0; i < KEPT; i++) {
        right = right && caller->reg[kept[i].number] == kept[i].value;
    }
    return right;
}

/* ---- single steps ------------------------------------------------------------------------------------------------------------------ */

#define ROOM 16

static volatile bool has_keys, began;
static const char *abandoned_at;
static uintptr_t function, end_of_function;
static volatile unsigned steps, inside, unlisted, wrongs;
static struct {
    uintptr_t at;
    bool ours;
} wrong[ROOM];

static void note_wrong(uintptr_t at, bool ours) {
    if (wrongs < ROOM) {
        wrong[wrongs].at = at;
        wrong[wrongs].ours = ours;
    }
    wrongs++;
}

static bool lists_caller(const ucontext_t *context) {
    uintptr_t frames[64];
    size_t count = ia2_unwind(context, frames, 64);
    for (size_t i = 1; i < count; i++) {
        if (frames[i] == (uintptr_t)caller_returns) {
            return true;
        }
    }
    return false;
}

static void look(const ucontext_t *context) {
    uintptr_t at = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    struct caller ours = step_to_caller(context);
    struct caller theirs = {.found = false};
    _Unwind_Backtrace(look_for_caller, &theirs);
    steps++;
    inside += at - function < end_of_function - function;
    unlisted += !lists_caller(context);
    if (!is_right(&ours)) {
        note_wrong(at, true);
    }
    if (!is_right(&theirs)) {
        note_wrong(at, false);
    }
}

static void on_trap(ucontext_t *context) {
    greg_t *regs = context->uc_mcontext.gregs;
    began = began || (uintptr_t)regs[REG_RIP] == function;
    if ((uintptr_t)regs[REG_RIP] == (uintptr_t)caller_returns) {
        regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        began = false;
    } else if (began) {
        look(context);
    }
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (signal == SIGTRAP) {
        on_trap(context);
    } else if (signal == SIGUSR1) { /* as violation.c abandons */
        regs[REG_RIP] = (greg_t)(uintptr_t)abandoned_at;
        regs[REG_RSP] = (greg_t)ia2_call_sp[SLOT];
        regs[REG_R12] = regs[REG_R14] = SLOT;
        regs[REG_RBP] = regs[REG_RSP] + IA2_CALL_FRAME;
        regs[REG_RBX] = regs[REG_R13] = regs[REG_R15] = -1; /* the destructor's leftovers */
    } else if (!has_keys && memcmp((const void *)regs[REG_RIP], "\x0f\x01\xef", 3) == 0) {
        regs[REG_RIP] += 3; /* WRPKRU, played; the trap comes after the next instruction */
        look(context);
    } else {
        _exit(77);
    }
}

static bool cpu_has_keys(void) {
    uint32_t a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c & (1u << 4); /* OSPKE (Intel SDM volume 2, CPUID leaf 7) */
}

static void prepare(void) {
    static char alternate[1 << 17];
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    const stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    void *first[1];
    backtrace(first, 1); /* loads libgcc_s now */
    sigaltstack(&stack, NULL);
    sigaction(SIGTRAP, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    has_keys = cpu_has_keys();
    ia2_sealed.wanted = wanted;
    ia2_sealed.wanted_alias = wanted;
    ia2_sealed.runtime_bits = ia2_key_bits(14);
    wanted[SLOT] = ia2_key_bits(14) | ia2_key_bits(13);
    wanted[SLOT + IA2_AROUND / sizeof *wanted] = ia2_key_bits(14);
}

TestSuite(switch_unwind, .init = prepare, .timeout = 50);

static void do_nothing(void) {}
static void be_abandoned(void) { raise(SIGUSR1); }

/* From the first instruction of the call to the one that it returns to. */
static void step_through(bool keys, void (*target)(void), void *stack) {
    const struct ia2_call call = {(uintptr_t)target, {0, 0, 0}, (uintptr_t)stack, SLOT, SLOT};
    struct ia2_cfi cfi;
    function = keys ? (uintptr_t)ia2_call_pku : (uintptr_t)ia2_call;
    abandoned_at = keys ? ia2_call_pku_abandoned : ia2_call_abandoned;
    cr_assert(ia2_cfi_find(function, &cfi));
    end_of_function = function + cfi.size;
    steps = inside = unlisted = wrongs = 0;
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
    call_with_values(function, &call);
    cr_expect_gt(inside, 25, "%u instructions of the call", inside);
    cr_expect_eq(unlisted, 0, "%u of %u stacks end before the caller", unlisted, steps);
    cr_expect_eq(wrongs, 0, "%u of %u times the caller or its registers are not found", wrongs, steps);
    for (unsigned i = 0; i < wrongs && i < ROOM; i++) {
        cr_log_warn("at %+ld not by %s", (long)(wrong[i].at - function), wrong[i].ours ? "us" : "libgcc");
    }
}

Test(switch_unwind, a_call) {
    step_through(false, do_nothing, NULL);
    step_through(false, be_abandoned, NULL);
}

Test(switch_unwind, a_call_that_changes_pkru) {
    step_through(true, do_nothing, NULL);
    step_through(true, be_abandoned, NULL);
}

Test(switch_unwind, a_call_on_another_stack) {
    step_through(false, do_nothing, own_stack + OWN_STACK);
    step_through(false, be_abandoned, own_stack + OWN_STACK);
    step_through(true, do_nothing, own_stack + OWN_STACK);
    step_through(true, be_abandoned, own_stack + OWN_STACK);
}
