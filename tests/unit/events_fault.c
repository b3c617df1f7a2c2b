/* The events of deadly signals and hangs, and the words in them. Each test is a process of its own; what the runtime knows of
 * objects and destructors is made up here. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dispatch.h"
#include "event_line.h"
#include "events.h"
#include "fault_words.h"
#include "guard.h"
#include "run.h"
#include "tamper.h"
#include "unloaded.h"

/* ---- the rest of the runtime --------------------------------------------------------------------------------------- */

struct ia2_counters ia2_counters;
const char ia2_trampolines[IA2_TRAMPOLINES * IA2_TRAMPOLINE_SIZE];
const char ia2_rearm_trampolines[2 * IA2_TRAMPOLINES * IA2_TRAMPOLINE_SIZE];

void ia2_count_run(const struct exit_record *record) { (void)record; }
void ia2_count_cut_off(const struct exit_record *record) { (void)record; }

_Noreturn void ia2_tampered(const char *what, const char *detail) {
    fprintf(stderr, "tampered: %s %s\n", what, detail ? detail : "");
    abort();
}

static struct ia2_line sent; /* the last line */
static struct exit_record *running;
static struct ia2_object object = {.path = "/lib/libeverything.so.1"};
static const char *compartment = "tls";

bool ia2_event_may_write(void) { return true; }

void ia2_event_begin(struct ia2_line *line, const char *event) {
    ia2_line_begin(line, event);
    ia2_line_number(line, "pid", UINT32_MAX);
    ia2_line_number(line, "tid", UINT32_MAX);
    ia2_line_number(line, "t", INT64_MAX);
}

void ia2_event_send(struct ia2_line *line) {
    cr_assert(ia2_line_end(line), "a line of more than %zu bytes", line->length);
    sent = *line;
}

bool ia2_running(struct ia2_running *now) {
    *now = (struct ia2_running){running, INT64_MAX};
    return running != NULL;
}

/* All code is of one object, in slot 4095. */
uint32_t ia2_object_at(uintptr_t address) {
    struct dl_find_object found;
    return _dl_find_object((void *)address, &found) == 0 ? IA2_MAX_OBJECTS - 1 : IA2_NO_OBJECT;
}

struct ia2_object *ia2_object(uint32_t slot) {
    cr_assert_eq(slot, IA2_MAX_OBJECTS - 1);
    return &object;
}

const char *ia2_compartment_name(uint16_t id) {
    (void)id;
    return compartment;
}

/* ---- a signal and its event ---------------------------------------------------------------------------------------- */

static sigjmp_buf back;
static char alternate[262144];

static void on_signal(int signal, siginfo_t *info, void *context) {
    if ((signal == SIGSEGV || signal == SIGBUS) && info->si_code > 0 && ia2_guard_caught(context)) {
        return;
    }
    ia2_event_fault_signal(NULL, signal, info, context);
    siglongjmp(back, 1);
}

static void install(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
    }
}

TestSuite(events_fault, .init = install, .timeout = 30);

/* The event of `work`, which ends in a signal. */
static json_t *event_of(void (*work)(void)) {
    sent.length = 0;
    if (sigsetjmp(back, 1) == 0) {
        work();
        cr_assert_fail("no signal came");
    }
    json_t *event = json_loadb(sent.text, sent.length, 0, NULL);
    cr_assert(event, "no JSON: %.*s", (int)sent.length, sent.text);
    return event;
}

static const char *text_of(const json_t *event, const char *key) {
    return json_string_value(json_object_get(event, key));
}

static void check_text(const json_t *event, const char *key, const char *expected) {
    const char *text = text_of(event, key);
    cr_assert(text, "%s is no string", key);
    cr_expect_str_eq(text, expected, "%s: \"%s\", expected \"%s\"", key, text, expected);
}

static void check_words(void (*work)(void), const char *what, const char *detail) {
    json_t *event = event_of(work);
    check_text(event, "event", "fault");
    check_text(event, "what", what);
    check_text(event, "detail", detail);
    json_decref(event);
}

/* What faults on purpose: no sanitizer is to find it first. */
#define ON_PURPOSE __attribute__((noinline, no_sanitize("address", "undefined")))

static volatile uintptr_t nowhere;
static void (*volatile wild)(void);

ON_PURPOSE static void write_null(void) { *(volatile int *)nowhere = 1; }
ON_PURPOSE static void read_null(void) { (void)*(volatile char *)(nowhere + 8); }
ON_PURPOSE static void jump(void) { wild(); }
ON_PURPOSE static void trap(void) { __builtin_trap(); }

/* ---- the members ---------------------------------------------------------------------------------------------------- */

Test(events_fault, of_a_signal) {
    json_t *event = event_of(write_null);
    cr_expect_eq(json_integer_value(json_object_get(event, "signal")), SIGSEGV);
    cr_expect_eq(json_integer_value(json_object_get(event, "code")), SEGV_MAPERR);
    check_text(event, "address", "0x0");
    cr_expect(json_is_null(json_object_get(event, "destructor")));
    check_text(json_object_get(event, "instruction"), "object", "/lib/libeverything.so.1");
    json_t *stack = json_object_get(event, "stack");
    cr_assert_gt(json_array_size(stack), 3);
    json_t *innermost = json_array_get(stack, 0);
    cr_expect_eq(json_integer_value(json_array_get(innermost, 0)), IA2_MAX_OBJECTS - 1);
    cr_expect_str_eq(json_string_value(json_array_get(innermost, 1)),
                     text_of(json_object_get(event, "instruction"), "rva"));
}

Test(events_fault, of_an_abort) {
    json_t *event = event_of(abort);
    check_text(event, "what", "aborted");
    check_text(event, "detail", "");
    cr_expect_eq(json_integer_value(json_object_get(event, "code")), SI_TKILL);
    cr_expect(json_is_null(json_object_get(event, "address")));
}

Test(events_fault, of_a_message) {
    ia2_event_fault("a bad map", "map");
    json_t *event = json_loadb(sent.text, sent.length, 0, NULL);
    static const char *const keys[] = {"signal", "code", "address", "instruction", "destructor"};
    for (size_t i = 0; i < 5; i++) {
        cr_expect(json_is_null(json_object_get(event, keys[i])), "%s", keys[i]);
    }
    cr_expect(json_is_array(json_object_get(event, "stack")));
    cr_expect_eq(json_array_size(json_object_get(event, "stack")), 0);
}

static void register_running(void) {
    running = ia2_record_new();
    running->function = (uintptr_t)write_null;
    running->registrar = (uintptr_t)read_null;
    running->kind = IA2_EXIT_THREAD_ATEXIT;
    running->owner = 65534;
    ia2_record_publish(running);
}

Test(events_fault, names_the_destructor) {
    register_running();
    json_t *event = event_of(trap);
    json_t *destructor = json_object_get(event, "destructor");
    check_text(destructor, "kind", "thread_atexit");
    check_text(destructor, "owner_name", "tls");
    cr_expect(json_is_string(json_object_get(json_object_get(destructor, "function"), "rva")));
    cr_expect(json_is_string(json_object_get(json_object_get(destructor, "registrar"), "rva")));
    cr_expect(json_is_integer(json_object_get(destructor, "seq")));
}

ON_PURPOSE static int recurse(int depth) {
    volatile char room[16];
    room[0] = (char)depth;
    return depth == 100 ? *(volatile int *)nowhere : recurse(depth + 1) + room[0];
}

ON_PURPOSE static void fault_deep_down(void) { nowhere = (uintptr_t)recurse(0); }

ON_PURPOSE static int other_recursion(int depth);

ON_PURPOSE static int one_recursion(int depth) {
    volatile char room[16];
    room[0] = (char)depth;
    return depth == 0 ? *(volatile int *)nowhere : other_recursion(depth - 1) + room[0];
}

ON_PURPOSE static int other_recursion(int depth) {
    volatile char room[16];
    room[0] = (char)depth;
    return depth == 0 ? *(volatile int *)nowhere : one_recursion(depth - 1) + room[0];
}

ON_PURPOSE static void fault_by_turns(void) { nowhere = (uintptr_t)one_recursion(1001); }

/* The one frame that says that others are left out after it. */
static const json_t *gap_of(const json_t *event) {
    const json_t *gap = NULL;
    const json_t *stack = json_object_get(event, "stack");
    for (size_t i = 0; i < json_array_size(stack); i++) {
        if (json_array_size(json_array_get(stack, i)) > 2) {
            cr_expect_null(gap, "one gap");
            gap = json_array_get(stack, i);
        }
    }
    cr_assert_not_null(gap);
    return gap;
}

/* Both have the same frames around them. */
Test(events_fault, says_how_many_frames_are_left_out) {
    const json_t *event = event_of(fault_deep_down);
    const json_t *gap = gap_of(event);
    long alike = json_integer_value(json_array_get(gap, 2));
    cr_expect(json_is_true(json_array_get(gap, 3)), "all of the same function");
    cr_expect_eq(json_array_size(json_object_get(event, "stack")), 64);
    const json_t *by_turns = gap_of(event_of(fault_by_turns));
    cr_expect(json_is_false(json_array_get(by_turns, 3)));
    cr_expect_eq(json_integer_value(json_array_get(by_turns, 2)), alike + 1002 - 101);
}

Test(events_fault, always_fits) {
    static char path[2000];
    memset(path, '\\', sizeof path - 1);
    object.path = path;
    object.base = (uintptr_t)1 << 63; /* for long RVAs */
    compartment = path;
    register_running();
    json_t *event = event_of(fault_deep_down);
    size_t longest = json_array_size(json_object_get(event, "stack"));
    cr_expect_geq(longest, 4, "%zu frames with paths that are cut", longest);
    cr_expect_gt(json_integer_value(json_array_get(gap_of(event), 2)), 101 - (long)longest, "the others are counted");
    object.path = "/usr/lib/x86_64-linux-gnu/libeverything.so.1";
    object.base = 0x7f0000000000;
    compartment = "tls";
    event = event_of(fault_deep_down);
    cr_expect_eq(json_array_size(json_object_get(event, "stack")), 64, "all that were asked for, with ordinary paths");
}

Test(events_fault, is_told_where_the_runtime_itself_is_damaged) {
    running = (struct exit_record *)(uintptr_t)0x4141414141414140;
    json_t *event = event_of(write_null);
    check_text(event, "what", "segmentation fault");
    check_text(event, "detail", "more cannot be told: the memory that would tell it is damaged");
    cr_expect(json_is_null(json_object_get(event, "signal")));
}

Test(events_fault, of_a_hang) {
    ucontext_t context;
    getcontext(&context);
    ia2_event_timeout("", &context);
    json_t *event = json_loadb(sent.text, sent.length, 0, NULL);
    check_text(event, "what", "timeout");
    cr_expect(json_is_null(json_object_get(event, "signal")));
    cr_expect_gt(json_array_size(json_object_get(event, "stack")), 1);
    ia2_event_stack(&context);
    event = json_loadb(sent.text, sent.length, 0, NULL);
    check_text(event, "event", "stack");
    cr_expect_eq(json_integer_value(json_object_get(event, "of")), gettid());
    cr_expect(json_is_object(json_object_get(event, "instruction")));
    cr_expect_gt(json_array_size(json_object_get(event, "stack")), 1);
}

Test(events_fault, begins_where_the_program_made_the_system_call) {
    const uintptr_t stack[] = {(uintptr_t)__builtin_return_address(0), 0};
    const char *const tables[] = {ia2_trampolines, ia2_rearm_trampolines};
    ucontext_t context;
    getcontext(&context);
    for (size_t i = 0; i < 2; i++) {
        context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(tables[i] + 100);
        context.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)stack;
        ia2_event_stack(&context);
        json_t *event = json_loadb(sent.text, sent.length, 0, NULL);
        char expected[32];
        snprintf(expected, sizeof expected, "0x%lx", stack[0]);
        check_text(json_object_get(event, "instruction"), "address", expected);
        json_t *innermost = json_array_get(json_object_get(event, "stack"), 0);
        cr_expect_str_eq(json_string_value(json_array_get(innermost, 1)), expected);
    }
}

/* ---- the words ------------------------------------------------------------------------------------------------------ */

static const int constant[1024] = {1};
ON_PURPOSE static void write_constant(void) { ((volatile int *)(uintptr_t)constant)[5] = 1; }

ON_PURPOSE static int endless(int depth) {
    volatile char room[512];
    room[0] = (char)depth;
    return nowhere ? 0 : endless(depth + 1) + room[0];
}

ON_PURPOSE static void overflow(void) { nowhere = (uintptr_t)endless(1); }

void lose_stack(void);
__asm__(".text\nlose_stack:\nmovq $0x4141410000, %rsp\npushq %rax\nret\n");

Test(events_fault, memory) {
    check_words(write_null, "segmentation fault", "a write through a NULL pointer");
    check_words(read_null, "segmentation fault", "a read through a NULL pointer");
    check_words(write_constant, "segmentation fault", "a write to read-only memory of libeverything.so.1");
    check_words(overflow, "segmentation fault", "stack overflow");
    check_words(lose_stack, "segmentation fault", "a write to an address in no object");
    nowhere = 0x4141414141;
    check_words(write_null, "segmentation fault", "a write to an address in no object");
    nowhere = 0x4141414141414141;
    check_words(write_null, "segmentation fault", ""); /* si_code says it */
}

Test(events_fault, jumps) {
    check_words(jump, "segmentation fault", "a call of NULL, or a jump to it");
    wild = (void (*)(void))0x4141414141;
    check_words(jump, "segmentation fault", "a call of, or a jump to, an address in no object");
    wild = (void (*)(void))(uintptr_t)constant;
    check_words(jump, "segmentation fault",
                "a call of, or a jump to, something that is not code, in libeverything.so.1");
}

Test(events_fault, what_was_unloaded) {
    ia2_unloaded_add(0x4140000000, 0x4142000000, "/lib/libfirst.so");
    ia2_unloaded_add(0x4141000000, 0x4142000000, "/lib/libsecond \"é.so");
    wild = (void (*)(void))0x4141414141;
    check_words(jump, "segmentation fault", "a call of, or a jump to, libsecond ???.so, which has been unloaded");
    nowhere = 0x4140414141;
    check_words(write_null, "segmentation fault", "a write to libfirst.so, which has been unloaded");
}

ON_PURPOSE static void read_truncated(void) {
    int file = memfd_create("short", 0);
    char *behind = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    (void)*(volatile char *)behind;
}

/* The signal is held back until fork() has given its locks back: the way out of the handler leaves them taken. */
static void be_killed(void) {
    sigset_t held, before;
    sigemptyset(&held);
    sigaddset(&held, SIGSEGV);
    sigprocmask(SIG_BLOCK, &held, &before);
    pid_t self = getpid();
    pid_t child = fork();
    if (child == 0) {
        kill(self, SIGSEGV);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

Test(events_fault, other_signals) {
    check_words(trap, "illegal instruction", "a trap that the compiler put where code must not come");
    check_words(read_truncated, "bus error", "a mapped file has become shorter");
    json_t *event = event_of(be_killed);
    cr_expect_eq(strncmp(text_of(event, "detail"), "sent by process ", 16), 0);
    cr_expect(json_is_null(json_object_get(event, "address")));
}

Test(events_fault, unloaded_objects_are_kept_for_a_while) {
    for (uintptr_t i = 1; i <= 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "/lib/lib%lu.so", i);
        ia2_unloaded_add(i << 20, (i + 1) << 20, name);
    }
    cr_expect_str_eq(ia2_unloaded_at(1000 << 20), "lib1000.so");
    cr_expect_str_eq(ia2_unloaded_at((1001 << 20) - 1), "lib1000.so");
    cr_expect_str_eq(ia2_unloaded_at(940 << 20), "lib940.so");
    cr_expect_null(ia2_unloaded_at(1001 << 20));
    cr_expect_null(ia2_unloaded_at(10 << 20));
    cr_expect_null(ia2_unloaded_at(0));
}
