/* The stub tables: entry i lies at 16 * i, is a valid target under IBT, and carries the number i. */
#include "stubs.h"

#include <criterion/criterion.h>
#include <string.h>

/* What the stubs jump to (takeover.c and hooks_register.c in the runtime). */
static struct {
    int calls;
    uint32_t number;
    void *value;
    int status;
    uintptr_t stack;
} last;

static void keep(uint32_t number, void *value, int status, uintptr_t frame) {
    last.calls++;
    last.number = number;
    last.value = value;
    last.status = status;
    last.stack = frame;
}

void ia2_run_fini(uint32_t slot);
void ia2_run_init(int argc, char **argv, char **envp, uint32_t slot);
void ia2_run_key(void *value, uint32_t stub);
void ia2_run_quick(uint32_t stub, int status);

void ia2_run_fini(uint32_t slot) { keep(slot, NULL, 0, (uintptr_t)__builtin_frame_address(0)); }
void ia2_run_init(int argc, char **argv, char **envp, uint32_t slot) {
    cr_assert_eq((void *)envp, &last);
    keep(slot, argv, argc, (uintptr_t)__builtin_frame_address(0));
}
void ia2_run_key(void *value, uint32_t stub) { keep(stub, value, 0, (uintptr_t)__builtin_frame_address(0)); }
void ia2_run_quick(uint32_t stub, int status) { keep(stub, NULL, status, (uintptr_t)__builtin_frame_address(0)); }

/* endbr64; mov $number, %reg; jmp rel8 or rel32 (Intel SDM volume 2). Returns where it jumps to. */
static uintptr_t decode(uintptr_t stub, uint32_t number, unsigned char move) {
    static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    const unsigned char *bytes = (const unsigned char *)stub;
    uint32_t immediate;
    int32_t distance;
    cr_assert_eq(memcmp(bytes, endbr64, 4), 0, "stub %u does not begin with endbr64", number);
    cr_assert_eq(bytes[4], move, "stub %u: opcode %02x", number, bytes[4]);
    memcpy(&immediate, bytes + 5, 4);
    cr_assert_eq(immediate, number, "stub %u carries %u", number, immediate);
    if (bytes[9] == 0xeb) {
        return stub + 11 + (uintptr_t)(intptr_t)(signed char)bytes[10];
    }
    cr_assert_eq(bytes[9], 0xe9, "stub %u: opcode %02x", number, bytes[9]);
    memcpy(&distance, bytes + 10, 4);
    return stub + 14 + (uintptr_t)(intptr_t)distance;
}

enum { MOV_EDI = 0xbf, MOV_ESI = 0xbe, MOV_ECX = 0xb9 };

static void check_table(const char *table, uint32_t count, uintptr_t (*stub_at)(uint32_t), unsigned char move,
                        uintptr_t target) {
    cr_assert_eq((uintptr_t)table % IA2_STUB_SIZE, 0);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(stub_at(i), (uintptr_t)table + 16u * i);
        cr_assert_eq(decode(stub_at(i), i, move), target, "stub %u jumps elsewhere", i);
    }
}

Test(stubs, tables_are_as_large_as_promised) {
    cr_expect_eq(IA2_FINI_STUBS, 4096); /* = IA2_MAX_OBJECTS */
    cr_expect_eq(IA2_INIT_STUBS, IA2_FINI_STUBS);
    cr_expect_eq(IA2_KEY_STUBS, 1024); /* = PTHREAD_KEYS_MAX */
    cr_expect_eq(IA2_QUICK_STUBS, 256);
}

Test(stubs, every_finalisation_stub) {
    check_table(ia2_fini_stubs, IA2_FINI_STUBS, ia2_fini_stub, MOV_EDI, (uintptr_t)ia2_run_fini);
}

Test(stubs, every_initialisation_stub) {
    check_table(ia2_init_stubs, IA2_INIT_STUBS, ia2_init_stub, MOV_ECX, (uintptr_t)ia2_run_init);
}

Test(stubs, every_key_stub) {
    check_table(ia2_key_stubs, IA2_KEY_STUBS, ia2_key_stub, MOV_ESI, (uintptr_t)ia2_run_key);
}

Test(stubs, every_quick_exit_stub) {
    check_table(ia2_quick_stubs, IA2_QUICK_STUBS, ia2_quick_stub, MOV_EDI, (uintptr_t)ia2_run_quick);
}

/* Runs each stub, as ld.so and glibc do. `frame` of the callee is 16-aligned when the call was (System V ABI, 3.2.2). */
Test(stubs, each_passes_on_its_number_and_its_arguments) {
    int value;
    for (uint32_t i = 0; i < IA2_FINI_STUBS; i++) {
        ((void (*)(void))ia2_fini_stub(i))();
        cr_assert_eq(last.number, i);
        cr_assert_eq(last.stack % 16, 0, "the stack is not aligned");
        ((void (*)(int, char **, char **))ia2_init_stub(i))(5, (char **)&value, (char **)&last);
        cr_assert_eq(last.number, i);
        cr_assert_eq(last.value, &value);
        cr_assert_eq(last.status, 5);
    }
    for (uint32_t i = 0; i < IA2_KEY_STUBS; i++) {
        ((void (*)(void *))ia2_key_stub(i))(&value + i);
        cr_assert_eq(last.number, i);
        cr_assert_eq(last.value, &value + i);
        cr_assert_eq(last.stack % 16, 0);
    }
    for (uint32_t i = 0; i < IA2_QUICK_STUBS; i++) {
        ((void (*)(void *, int))ia2_quick_stub(i))(NULL, -(int)i);
        cr_assert_eq(last.number, i);
        cr_assert_eq(last.status, -(int)i);
        cr_assert_eq(last.stack % 16, 0);
    }
    cr_expect_eq(last.calls, IA2_FINI_STUBS + IA2_INIT_STUBS + IA2_KEY_STUBS + IA2_QUICK_STUBS);
}
