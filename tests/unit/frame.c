/* The frame that the kernel leaves for a signal handler: PKRU in it, and what kind of fault it was. */
#include "frame.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#include "sealed.h"

#define PKRU_AT 2688u /* where many CPUs have it (CPUID leaf 0xD, subleaf 9) */
#define PKRU_PART (1ul << 9)

static struct {
    _Alignas(64) char area[4096];
    ucontext_t context;
} frame;

static void put64(size_t at, uint64_t value) { memcpy(frame.area + at, &value, sizeof value); }
static void put32(size_t at, uint32_t value) { memcpy(frame.area + at, &value, sizeof value); }

/* A frame with an XSAVE area in which PKRU counts and is 0x55555554. */
static void make_frame(void) {
    memset(frame.area, 0x5a, sizeof frame.area);
    put32(464, 0x46505853); /* FP_XSTATE_MAGIC1 */
    put64(472, 0x2e7);      /* parts that the area has room for */
    put64(512, PKRU_PART | 3);
    put32(PKRU_AT, 0x55555554);
    frame.context.uc_mcontext.fpregs = (void *)frame.area;
    ia2_sealed.pkru_offset = PKRU_AT;
}

TestSuite(frame, .init = make_frame, .timeout = 20);

static uint64_t parts_that_count(void) {
    uint64_t parts;
    memcpy(&parts, frame.area + 512, sizeof parts);
    return parts;
}

Test(frame, pkru_is_read_where_the_cpu_keeps_it) { cr_expect_eq(ia2_frame_pkru(&frame.context), 0x55555554); }

/* The processor need not write what is in its initial state: the bytes are of an earlier frame (Intel SDM volume 1, section 13.6). */
Test(frame, pkru_is_0_where_its_bytes_do_not_count) {
    put64(512, 3);
    cr_expect_eq(ia2_frame_pkru(&frame.context), 0);
}

Test(frame, pkru_that_is_set_counts) {
    put64(512, 3);
    cr_expect(ia2_frame_set_pkru(&frame.context, 0xfffffff0));
    cr_expect_eq(ia2_frame_pkru(&frame.context), 0xfffffff0);
    cr_expect_eq(parts_that_count(), PKRU_PART | 3, "the other parts count as before");
}

Test(frame, nothing_else_is_changed) {
    char before[sizeof frame.area];
    memcpy(before, frame.area, sizeof before);
    cr_expect(ia2_frame_set_pkru(&frame.context, 0x12345678));
    for (size_t i = 0; i < sizeof before; i++) {
        cr_expect(i - PKRU_AT < 4 || frame.area[i] == before[i], "byte %zu", i);
    }
}

static void expect_no_place(const char *why) {
    char before[sizeof frame.area];
    memcpy(before, frame.area, sizeof before);
    cr_expect_eq(ia2_frame_pkru(&frame.context), 0, "%s", why);
    cr_expect_not(ia2_frame_set_pkru(&frame.context, 1), "%s", why);
    cr_expect_eq(memcmp(before, frame.area, sizeof before), 0, "%s", why);
}

Test(frame, a_frame_without_a_place_for_it_is_left_alone) {
    put32(464, 0);
    expect_no_place("no XSAVE area");
    make_frame();
    put64(472, 0x2e7 & ~PKRU_PART);
    expect_no_place("an area without PKRU");
    make_frame();
    frame.context.uc_mcontext.fpregs = NULL;
    expect_no_place("no floating-point state at all");
    make_frame();
    ia2_sealed.pkru_offset = 0;
    expect_no_place("a CPU without it");
}

/* ---- real faults ----------------------------------------------------------------------------------------------------------------------- */

static sigjmp_buf back;
static struct {
    bool page_fault, write, fetch;
    uintptr_t ip;
} seen;

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    seen.page_fault = ia2_frame_is_page_fault(context);
    seen.write = ia2_frame_was_write(context);
    seen.fetch = ia2_frame_was_fetch(context);
    seen.ip = ia2_frame_ip(context);
    siglongjmp(back, 1);
}

extern const char reading[], writing[];
void read_byte(const void *at);
void write_byte(void *at);
void not_canonical(void);
__asm__(".text\nread_byte:\nreading: movb (%rdi), %al\nret\n"
        "write_byte:\nwriting: movb $0, (%rdi)\nret\n"
        "not_canonical: movabsq $0x4141414141414141, %rdi\njmp read_byte\n");

#define FAULT(what)                                                                                                    \
    do {                                                                                                               \
        if (sigsetjmp(back, 1) == 0) {                                                                                 \
            what;                                                                                                      \
            cr_assert(false, "no fault");                                                                              \
        }                                                                                                              \
    } while (0)

Test(frame, what_the_instruction_did) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    char *closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *data = 0;

    FAULT(read_byte(closed));
    cr_expect(seen.page_fault && !seen.write && !seen.fetch);
    cr_expect_eq(seen.ip, (uintptr_t)reading);

    FAULT(write_byte(closed));
    cr_expect(seen.page_fault && seen.write && !seen.fetch);
    cr_expect_eq(seen.ip, (uintptr_t)writing);

    FAULT(((void (*)(void))(uintptr_t)data)());
    cr_expect(seen.page_fault && !seen.write && seen.fetch);
    cr_expect_eq(seen.ip, (uintptr_t)data);

    FAULT(not_canonical());
    cr_expect_not(seen.page_fault, "a general protection fault");
}
