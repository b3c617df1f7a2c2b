/* Calling a destructor: what the caller keeps when it returns and when it is abandoned, and the PKRU on the way. Each test is a
 * process of its own. Where the CPU has no protection keys, WRPKRU is played by a handler of SIGILL. */
#include "switch.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "gate.h"
#include "sealed.h"
#include "thread.h"

#define SLOT 5u
#define OWN_STACK 65536

uintptr_t ia2_call_sp[2 * IA2_THREADS]; /* run.c's, in the runtime */

static uint32_t wanted[2 * IA2_THREADS]; /* by slot: the rights of what is called, and of the code around it */
static char own_stack[OWN_STACK] __attribute__((aligned(16)));

/* ---- a register PKRU, real or played ------------------------------------------------------------------------------------------ */

#define LOADS 16

static volatile bool has_keys;
static volatile uint32_t played;
static struct {
    volatile unsigned count;
    volatile uint32_t values[LOADS];
    volatile bool clean[LOADS]; /* ECX and EDX were 0, as WRPKRU demands */
} loads;

static uint32_t pkru(void) { return has_keys ? ia2_rdpkru() : played; }

static bool cpu_has_keys(void) {
    uint32_t a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c & (1u << 4); /* OSPKE (Intel SDM volume 2, CPUID leaf 7) */
}

static bool is_wrpkru(uintptr_t ip) { return memcmp((const void *)ip, "\x0f\x01\xef", 3) == 0; }

/* Of SIGILL: plays WRPKRU; of SIGUSR1: abandons the call that was interrupted, as the runtime's handlers do. */
static const char *volatile abandoned_at;

/* AddressSanitizer learns of frames that end by a return only; what it still forbids there, later frames would stumble over. */
static void forget_frames(uintptr_t from, uintptr_t to) {
    if (to - from < OWN_STACK) { /* of the same stack */
        ASAN_UNPOISON_MEMORY_REGION((void *)from, to - from);
    }
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (signal == SIGUSR1) {
        forget_frames((uintptr_t)regs[REG_RSP], ia2_call_sp[SLOT]);
        regs[REG_RIP] = (greg_t)(uintptr_t)abandoned_at;
        regs[REG_RSP] = (greg_t)ia2_call_sp[SLOT];
        regs[REG_R12] = regs[REG_R14] = SLOT;
        return;
    }
    if (has_keys || !is_wrpkru((uintptr_t)regs[REG_RIP])) {
        _exit(77); /* the UD2 behind a comparison that failed */
    }
    unsigned i = loads.count++ % LOADS;
    loads.values[i] = played = (uint32_t)regs[REG_RAX];
    loads.clean[i] = (uint32_t)regs[REG_RCX] == 0 && (uint32_t)regs[REG_RDX] == 0;
    regs[REG_RIP] += 3;
}

/* Two bits of a key that nothing here is tagged with. */
#define RUNTIME_BITS ia2_key_bits(14)
#define RIGHTS (RUNTIME_BITS | ia2_key_bits(13) | ia2_key_bits(3))
#define AROUND (RUNTIME_BITS | ia2_key_bits(12))

static void prepare(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    has_keys = cpu_has_keys();
    ia2_sealed.wanted = wanted;
    ia2_sealed.wanted_alias = wanted;
    ia2_sealed.runtime_bits = RUNTIME_BITS;
    wanted[SLOT] = RIGHTS;
    wanted[SLOT + IA2_AROUND / sizeof *wanted] = AROUND;
}

TestSuite(switch_to, .init = prepare, .timeout = 30);

/* ---- what is called ----------------------------------------------------------------------------------------------------------------- */

static struct {
    uintptr_t first, second, third, sp, frame;
    uint32_t pkru;
    unsigned calls;
} seen;

__attribute__((noinline)) static void note(uintptr_t first, uintptr_t second, uintptr_t third) {
    char here;
    seen.first = first;
    seen.second = second;
    seen.third = third;
    seen.sp = (uintptr_t)&here;
    seen.frame = (uintptr_t)__builtin_frame_address(0);
    seen.pkru = pkru();
    seen.calls++;
}

/* Changes all that a function must keep, and what it must not care about; then it is abandoned (SIGUSR1), or returns. */
void spoil(uintptr_t abandon, uintptr_t pid);
__asm__(
    ".text\nspoil:\n"
    "movq $-1, %rbx\nmovq $-1, %rbp\nmovq $-1, %r12\nmovq $-1, %r13\nmovq $-1, %r14\nmovq $-1, %r15\n"
    "pushq $0x5fc0\nldmxcsr (%rsp)\nmovw $0x0c7f, (%rsp)\nfldcw (%rsp)\nstd\n" /* round up; single precision, truncate */
    "subq $4096, %rsp\nmovq %rsi, %rdi\nmovl $10, %esi\nmovl $62, %eax\nsyscall\nud2\n"); /* kill(pid, SIGUSR1) */

typedef bool call_function(const struct ia2_call *call);

static struct ia2_call make_call(void (*function)(void), uintptr_t first, uintptr_t second, void *stack) {
    return (struct ia2_call){(uintptr_t)function, {first, second, ~first}, (uintptr_t)stack, SLOT, SLOT};
}
#define CALL(function, first, second, stack) make_call((void (*)(void))(function), first, second, stack)

static const struct way {
    const char *name;
    call_function *call;
    const char *abandoned;
    void *stack;
} ways[] = {
    {"ia2_call", ia2_call, ia2_call_abandoned, NULL},
    {"ia2_call on another stack", ia2_call, ia2_call_abandoned, own_stack + OWN_STACK},
    {"ia2_call_pku", ia2_call_pku, ia2_call_pku_abandoned, NULL},
    {"ia2_call_pku on a stack of the compartment's own", ia2_call_pku, ia2_call_pku_abandoned, own_stack + OWN_STACK},
};

#define WAYS (sizeof ways / sizeof *ways)

/* Calls with a value of its own in each register that is kept, and notes them, the result, RFLAGS and RSP before and after. */
struct machine {
    uint64_t kept[6], result, flags, sp_before, sp_after;
};
void call_with_values(struct machine *machine, call_function *function, const struct ia2_call *call);
__asm__(".text\ncall_with_values:\n"
        "pushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r14\npushq %r15\npushq %rdi\n"
        "movq %rsp, 64(%rdi)\nmovq %rsi, %rax\nmovq %rdx, %rdi\n"
        "movq $1, %rbx\nmovq $2, %rbp\nmovq $3, %r12\nmovq $4, %r13\nmovq $5, %r14\nmovq $6, %r15\n"
        "call *%rax\n"
        "popq %rdi\npushfq\npopq %rcx\ncld\n"
        "leaq -8(%rsp), %rdx\nmovq %rdx, 72(%rdi)\n"
        "movq %rbx, (%rdi)\nmovq %rbp, 8(%rdi)\nmovq %r12, 16(%rdi)\nmovq %r13, 24(%rdi)\nmovq %r14, 32(%rdi)\n"
        "movq %r15, 40(%rdi)\nmovzbl %al, %eax\nmovq %rax, 48(%rdi)\nmovq %rcx, 56(%rdi)\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n");

static uint16_t x87_control(void) {
    uint16_t word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static void expect_as_before(const struct machine *machine, const char *name) {
    for (uint64_t i = 0; i < 6; i++) {
        cr_expect_eq(machine->kept[i], i + 1, "%s: register %lu is %lx", name, i, machine->kept[i]);
    }
    cr_expect_eq(machine->sp_after, machine->sp_before, "%s: RSP", name);
    cr_expect_eq(machine->flags & 0x400, 0, "%s: the direction flag is clear", name);
}

/* ---- a call that returns --------------------------------------------------------------------------------------------------------------- */

Test(switch_to, the_function_gets_its_arguments_and_the_caller_its_registers) {
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        struct machine machine;
        memset(&seen, 0, sizeof seen);
        const struct ia2_call call = CALL(note, 0x1122334455667788, UINT64_MAX, way->stack);
        call_with_values(&machine, way->call, &call);
        cr_expect_eq(seen.calls, 1, "%s", way->name);
        cr_expect_eq(seen.first, 0x1122334455667788, "%s", way->name);
        cr_expect_eq(seen.second, UINT64_MAX, "%s", way->name);
        cr_expect_eq(seen.third, ~0x1122334455667788u, "%s", way->name);
        cr_expect_eq(machine.result, 0, "%s: it was not abandoned", way->name);
        expect_as_before(&machine, way->name);
    }
}

Test(switch_to, the_stack_is_aligned_as_the_abi_wants_it) {
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        const struct ia2_call call = CALL(note, 0, 0, way->stack);
        way->call(&call);
        /* On entry RSP + 8 is a multiple of 16; the frame's RBP was pushed at once (System V ABI, section 3.2.2). */
        cr_expect_eq(seen.frame % 16, 0, "%s: %lx", way->name, seen.frame);
    }
}

Test(switch_to, a_stack_of_the_compartments_own_is_used_where_there_is_one) {
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        const struct ia2_call call = CALL(note, 0, 0, way->stack);
        way->call(&call);
        bool there = seen.sp - (uintptr_t)own_stack < OWN_STACK;
        cr_expect_eq(there, way->stack != NULL, "%s", way->name);
    }
}

/* ---- a call that is abandoned ------------------------------------------------------------------------------------------------------- */

Test(switch_to, an_abandoned_call_leaves_the_machine_as_it_was) {
    const unsigned mxcsr = 0x1f80 | _MM_ROUND_DOWN;
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        struct machine machine;
        _mm_setcsr(mxcsr);
        uint16_t control = x87_control();
        abandoned_at = way->abandoned;
        const struct ia2_call call = CALL(spoil, 1, (uintptr_t)getpid(), way->stack);
        call_with_values(&machine, way->call, &call);
        cr_expect_eq(machine.result, 1, "%s: it was abandoned", way->name);
        expect_as_before(&machine, way->name);
        cr_expect_eq(_mm_getcsr(), mxcsr, "%s: MXCSR is %x", way->name, _mm_getcsr());
        cr_expect_eq(x87_control(), control, "%s: the x87 control word is %x", way->name, x87_control());
    }
}

/* What the runtime does around each call (run.c): the outer call's stack pointer is put back. */
static const struct way *nested_way;
static unsigned inner_abandoned;

static void call_inside(uintptr_t times, uintptr_t pid) {
    uintptr_t outer = ia2_call_sp[SLOT];
    const struct ia2_call call = times > 1 ? CALL(call_inside, times - 1, pid, NULL) : CALL(spoil, 0, pid, NULL);
    inner_abandoned += nested_way->call(&call);
    ia2_call_sp[SLOT] = outer;
    if (times == 2) {
        raise(SIGUSR1); /* this one, too, when the innermost is done with */
    }
}

Test(switch_to, of_nested_calls_the_innermost_is_abandoned) {
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        struct machine machine;
        nested_way = way;
        inner_abandoned = 0;
        abandoned_at = way->abandoned;
        const struct ia2_call call = CALL(call_inside, 3, (uintptr_t)getpid(), way->stack);
        call_with_values(&machine, way->call, &call);
        cr_expect_eq(machine.result, 0, "%s: the outermost returned", way->name);
        cr_expect_eq(inner_abandoned, 2, "%s: the two within it did not", way->name);
        expect_as_before(&machine, way->name);
    }
}

/* ---- PKRU ----------------------------------------------------------------------------------------------------------------------------- */

Test(switch_to, the_destructor_has_the_rights_that_are_wanted_and_then_the_runtime_is_open_besides_what_was_before) {
    for (unsigned abandon = 0; abandon < 2; abandon++) {
        struct machine machine;
        abandoned_at = ia2_call_pku_abandoned;
        loads.count = 0;
        const uintptr_t pid = (uintptr_t)getpid();
        const struct ia2_call call = abandon ? CALL(spoil, 0, pid, NULL) : CALL(note, 0, pid, NULL);
        call_with_values(&machine, ia2_call_pku, &call);
        cr_expect(abandon || seen.pkru == RIGHTS, "%x", seen.pkru);
        cr_expect_eq(pkru(), AROUND & ~RUNTIME_BITS, "%x", pkru());
        if (!has_keys) {
            cr_expect_eq(loads.count, 2, "%u times WRPKRU for one destructor", loads.count);
            cr_expect(loads.clean[0] && loads.clean[1]);
        }
    }
}

Test(switch_to, closing_loads_what_it_is_told) {
    ia2_pkru_close(RIGHTS, SLOT);
    cr_expect_eq(pkru(), RIGHTS);
    ia2_pkru_close(RIGHTS, SLOT | IA2_THREADS); /* an index cannot leave the table */
    cr_expect_eq(pkru(), RIGHTS);
}

#define BROKEN 77

/* Who jumps to the instruction with a value of his own gets no further. */
static int status_of(void (*load)(uint32_t value, uint32_t slot), uint32_t value, uint32_t slot) {
    pid_t child = fork();
    if (child == 0) {
        load(value, slot);
        _exit(0);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(switch_to, closing_with_another_value_than_is_wanted_ends_the_process) {
    cr_expect_eq(status_of(ia2_pkru_close, RIGHTS, SLOT), 0);
    cr_expect_eq(status_of(ia2_pkru_close, 0, SLOT), BROKEN, "everything open");
    cr_expect_eq(status_of(ia2_pkru_close, RIGHTS & ~RUNTIME_BITS, SLOT), BROKEN, "the runtime's memory open");
    cr_expect_eq(status_of(ia2_pkru_close, RIGHTS, SLOT + 1), BROKEN, "the rights of another thread");
    for (unsigned bit = 2; bit < 32; bit++) {
        cr_expect_eq(status_of(ia2_pkru_close, RIGHTS ^ 1u << bit, SLOT), BROKEN, "bit %u", bit);
    }
}

static void open_with(uint32_t value, uint32_t unused) {
    (void)unused;
    ia2_pkru_open(value);
}

/* The hint lies in TLS, where anybody can write. */
static void open_with_hint(uint32_t value, uint32_t hint) {
    ia2_thread_hint = hint;
    ia2_pkru_open(value);
}

Test(switch_to, opening_gives_a_destructor_the_runtime_and_nothing_else) {
    struct ia2_thread *thread = ia2_self();
    cr_assert_neq(ia2_thread_slot(thread), 0);
    cr_expect_eq(status_of(open_with, 0, 0), 0, "no destructor runs: nothing is closed to this thread");
    thread->depth = 1;
    thread->pkru = RIGHTS;
    cr_expect_eq(status_of(open_with, RIGHTS & ~RUNTIME_BITS, 0), 0);
    cr_expect_eq(status_of(open_with, IA2_PKRU_INITIAL & ~RUNTIME_BITS, 0), 0, "a signal handler");
    cr_expect_eq(status_of(open_with, 0, 0), BROKEN);
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t value = (RIGHTS & ~RUNTIME_BITS) ^ 1u << bit;
        bool runtime = (RUNTIME_BITS & 1u << bit) != 0;
        int status = status_of(open_with, value, 0);
        /* A real register without key 0 leaves no stack: the process dies before the comparison, or of its signal. */
        bool ended = status == BROKEN || (has_keys && bit < 2 && status != 0);
        cr_expect(runtime ? status == 0 : ended, "bit %u: status %d", bit, status);
    }
}

Test(switch_to, whose_rights_they_are_no_hint_decides) {
    struct ia2_thread *thread = ia2_self();
    ia2_threads[700] = (struct ia2_thread){.base = 1, .depth = 1, .pkru = 0};
    thread->depth = 1;
    thread->pkru = RIGHTS;
    const uint32_t hints[] = {0, 1, 2, 700, 700 + IA2_THREADS, UINT32_MAX, 1u << 31};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        cr_expect_eq(status_of(open_with_hint, RIGHTS & ~RUNTIME_BITS, hints[i]), 0, "%x", hints[i]);
        cr_expect_eq(status_of(open_with_hint, 0, hints[i]), BROKEN, "%x", hints[i]);
    }
}

/* A jump to ia2_pkru_open with a return address of the jumper's choice. */
void open_and_return_to(uint32_t value, uintptr_t address);
__asm__(".text\nopen_and_return_to:\npushq %rsi\njmp ia2_pkru_open\n");

static void leave_at_once(void) { _exit(0); }

static void open_and_go(uint32_t value, uint32_t where) {
    const uintptr_t places[] = {(uintptr_t)leave_at_once, (uintptr_t)own_stack, (uintptr_t)_exit, 0, UINTPTR_MAX};
    open_and_return_to(value, places[where]);
}

Test(switch_to, opening_returns_to_the_runtimes_text_only) {
    cr_expect_eq(status_of(open_and_go, 0, 0), 0);
    cr_expect_eq(status_of(open_and_go, 0, 1), BROKEN, "data behind the text");
    cr_expect_eq(status_of(open_and_go, 0, 2), BROKEN, "another object");
    cr_expect_eq(status_of(open_and_go, 0, 3), BROKEN);
    cr_expect_eq(status_of(open_and_go, 0, 4), BROKEN);
}
