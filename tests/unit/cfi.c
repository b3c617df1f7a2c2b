/* Call frame instructions and expressions, one by one and at random. */
#include "cfi.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    if (!ia2_guard_caught(context)) {
        abort();
    }
}

static void install(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

TestSuite(cfi, .init = install, .timeout = 30);

static const uintptr_t stack[8] = {100, 101, 102, 103, 104, 105, 106, 107};

/* A function at 0x1000 with these instructions, interrupted at 0x1010. */
static struct ia2_cfi function_with(const uint8_t *program, size_t size) {
    static const uint8_t initial[] = {0x0c, 7, 8, 0x80 | 16, 1}; /* CFA = rsp + 8; rip at CFA - 8 */
    return (struct ia2_cfi){
        .function = 0x1000,
        .size = 0x100,
        .code_alignment = 1,
        .data_alignment = -8,
        .initial = {initial, initial + sizeof initial, false},
        .program = {program, program + size, false},
    };
}

static struct ia2_frame frame_here(void) {
    struct ia2_frame frame = {.exact = true};
    for (unsigned i = 0; i < IA2_FRAME_REGISTERS; i++) {
        frame.reg[i] = 1000 + i;
    }
    frame.reg[IA2_RSP] = (uintptr_t)stack;
    frame.reg[IA2_RIP] = 0x1010;
    return frame;
}

struct row {
    const char *name;
    uint8_t program[24];
    size_t size;
    uintptr_t rip, cfa; /* cfa in words above the stack pointer */
    uintptr_t rbx;
};

#define PROGRAM(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})

static const struct row rows[] = {
    {"nothing", PROGRAM(0), 100, 1, 1003},
    {"def_cfa_offset", PROGRAM(0x0e, 32), 103, 4, 1003},
    {"def_cfa_offset_sf", PROGRAM(0x13, 0x7c), 103, 4, 1003}, /* -4 times -8 */
    {"def_cfa", PROGRAM(0x0c, 7, 16), 101, 2, 1003},
    {"def_cfa_sf", PROGRAM(0x12, 7, 0x7e), 101, 2, 1003},
    {"advance_loc, to be executed", PROGRAM(0x50, 0x0e, 32), 103, 4, 1003},
    {"advance_loc, too far", PROGRAM(0x51, 0x0e, 32), 100, 1, 1003},
    {"advance_loc1", PROGRAM(0x02, 0x11, 0x0e, 32), 100, 1, 1003},
    {"advance_loc2", PROGRAM(0x03, 0x10, 0, 0x0e, 32), 103, 4, 1003},
    {"advance_loc4", PROGRAM(0x04, 0x10, 0, 1, 0, 0x0e, 32), 100, 1, 1003},
    {"offset", PROGRAM(0x0e, 32, 0x83, 2), 103, 4, 102},
    {"offset_extended", PROGRAM(0x0e, 32, 0x05, 3, 3), 103, 4, 101},
    {"offset_extended_sf", PROGRAM(0x11, 3, 0x7f), 100, 1, 102},
    {"GNU_negative_offset_extended", PROGRAM(0x2f, 3, 2), 100, 1, 103},
    {"val_offset", PROGRAM(0x14, 6, 0), 100, 1, 1003},
    {"register", PROGRAM(0x09, 3, 12), 100, 1, 1012},
    {"undefined", PROGRAM(0x07, 3), 100, 1, 0},
    {"same_value", PROGRAM(0x83, 1, 0x08, 3), 100, 1, 1003},
    {"restore", PROGRAM(0x83, 1, 0xc3), 100, 1, 1003},
    {"restore_extended", PROGRAM(0x83, 1, 0x06, 3), 100, 1, 1003},
    {"remember and restore state", PROGRAM(0x0a, 0x0e, 32, 0x83, 1, 0x0b), 100, 1, 1003},
    {"GNU_args_size", PROGRAM(0x2e, 0x80, 1), 100, 1, 1003},
    {"a vector register", PROGRAM(0x05, 17, 3), 100, 1, 1003},
    {"def_cfa_expression: breg7 + 24", PROGRAM(0x0f, 2, 0x77, 24), 102, 3, 1003},
    {"expression: CFA plus 16", PROGRAM(0x10, 3, 2, 0x23, 16), 100, 1, 103},
    {"val_expression: breg12 5, and lit3", PROGRAM(0x16, 3, 4, 0x7c, 5, 0x33, 0x1a), 100, 1, 1},
    /* A PLT entry: CFA = rsp + 8 + ((rip & 15) >= 11) << 3; here rip & 15 is 0. */
    {"a PLT entry", PROGRAM(0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22), 100, 1, 1003},
};

Test(cfi, each_instruction) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct ia2_cfi cfi = function_with(row->program, row->size);
        struct ia2_frame frame = frame_here();
        cr_assert(ia2_cfi_step(&cfi, &frame), "%s", row->name);
        cr_expect_eq(frame.reg[IA2_RIP], row->rip, "%s: rip %lu", row->name, frame.reg[IA2_RIP]);
        cr_expect_eq(frame.reg[IA2_RSP], (uintptr_t)(stack + row->cfa), "%s: the CFA", row->name);
        cr_expect_eq(frame.reg[3], row->rbx, "%s: rbx %lu", row->name, frame.reg[3]);
        cr_expect_not(frame.exact);
    }
}

Test(cfi, what_makes_no_sense_is_refused) {
    static const struct row wrong[] = {
        {"an unknown instruction", PROGRAM(0x3f), 0, 0, 0},
        {"an operand that is missing", PROGRAM(0x0e), 0, 0, 0},
        {"a number without end", PROGRAM(0x0e, 0x80, 0x80), 0, 0, 0},
        {"restore_state without remember_state", PROGRAM(0x0b), 0, 0, 0},
        {"too many states", PROGRAM(0x0a, 0x0a, 0x0a, 0x0a, 0x0a), 0, 0, 0},
        {"a CFA in an unknown register", PROGRAM(0x0c, 40, 8), 0, 0, 0},
        {"an expression that is too long", PROGRAM(0x0f, 100, 0x77, 8), 0, 0, 0},
        {"an expression that is empty", PROGRAM(0x0f, 0), 0, 0, 0},
        {"an expression with an unknown operation", PROGRAM(0x0f, 1, 0xff), 0, 0, 0},
        {"an expression with a jump", PROGRAM(0x0f, 4, 0x30, 0x2f, 0xfd, 0xff), 0, 0, 0},
        {"an expression that takes too much", PROGRAM(0x0f, 2, 0x30, 0x22), 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ia2_cfi cfi = function_with(wrong[i].program, wrong[i].size);
        struct ia2_frame frame = frame_here();
        struct ia2_frame before = frame;
        cr_expect_not(ia2_cfi_step(&cfi, &frame), "%s", wrong[i].name);
        cr_expect_eq(memcmp(&frame, &before, sizeof frame), 0, "%s: the frame has changed", wrong[i].name);
    }
}

Test(cfi, a_signal_frame_is_left_at_an_instruction) {
    struct ia2_cfi cfi = function_with(NULL, 0);
    struct ia2_frame frame = frame_here();
    cfi.signal_frame = true;
    cr_assert(ia2_cfi_step(&cfi, &frame));
    cr_expect(frame.exact);
}

Test(cfi, a_return_address_belongs_to_the_call_before_it) {
    static const uint8_t program[] = {0x50, 0x0e, 32}; /* at 0x1010 */
    struct ia2_cfi cfi = function_with(program, sizeof program);
    struct ia2_frame frame = frame_here();
    frame.exact = false;
    cr_assert(ia2_cfi_step(&cfi, &frame));
    cr_expect_eq(frame.reg[IA2_RSP], (uintptr_t)(stack + 1));
}

static struct ia2_cfi random_cfi;
static struct ia2_frame random_frame;

static void step(void *outcome) { *(bool *)outcome = ia2_cfi_step(&random_cfi, &random_frame); }

Test(cfi, random_instructions_end) {
    unsigned long made_sense = 0;
    unsigned long faulted = 0;
    srand(3);
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t program[16];
        bool outcome = false;
        for (size_t j = 0; j < sizeof program; j++) {
            program[j] = (uint8_t)(rand() >> 4) & (rand() & 64 ? 0xff : 0x1f);
        }
        random_cfi = function_with(program, sizeof program);
        random_frame = frame_here();
        faulted += !ia2_guard_run(step, &outcome);
        made_sense += outcome;
    }
    cr_expect_gt(made_sense, 1000, "%lu made sense", made_sense);
    cr_expect_gt(faulted, 1000, "%lu faulted", faulted);
}

Test(cfi, every_function_of_libc_is_found) {
    Dl_info info;
    struct ia2_cfi cfi;
    unsigned long found = 0;
    cr_assert(dladdr((void *)abort, &info));
    uintptr_t base = (uintptr_t)info.dli_fbase;
    struct dl_find_object object;
    cr_assert_eq(_dl_find_object((void *)abort, &object), 0);
    for (uintptr_t at = base; at < (uintptr_t)object.dlfo_map_end; at += 13) {
        if (ia2_cfi_find(at, &cfi)) {
            cr_assert(at >= cfi.function && at - cfi.function < cfi.size);
            found++;
        }
    }
    cr_expect(ia2_cfi_find((uintptr_t)abort, &cfi) && cfi.function == (uintptr_t)abort);
    cr_expect(ia2_cfi_find((uintptr_t)qsort, &cfi) && cfi.function == (uintptr_t)qsort);
    cr_expect_gt(found, 50000, "%lu addresses", found);
}

Test(cfi, other_addresses_are_not_found) {
    struct ia2_cfi cfi;
    static int data;
    const uintptr_t others[] = {0, 1, UINTPTR_MAX, 0x8000000000000000, (uintptr_t)&cfi, (uintptr_t)&data};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_expect_not(ia2_cfi_find(others[i], &cfi), "%lx", others[i]);
    }
}
