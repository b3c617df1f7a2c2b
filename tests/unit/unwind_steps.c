/* Thousands of ordinary instructions of libc and ld.so, each interrupted: our stack is backtrace()'s every time. */
#include "unwind.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <locale.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cfi.h"
#include "guard.h"

#define ROOM 100

static unsigned long steps, lookups, handlers,
    silent; /* instructions; those of PLT entries; in a handler; without information */
static struct {
    uintptr_t ours[ROOM], theirs[ROOM];
    size_t our_count, their_count;
} different; /* the first stack that was */
static unsigned long differences;

/* Is it the indirect jump of a PLT entry (with the prefix bnd, or without)? */
static bool is_plt_jump(uintptr_t instruction) {
    const unsigned char *code = (const unsigned char *)instruction;
    code += *code == 0xf2 ? 1 : 0;
    return code[0] == 0xff && code[1] == 0x25;
}

static void note(const uintptr_t *ours, size_t our_count, const uintptr_t *theirs, size_t their_count) {
    if (our_count == their_count && memcmp(ours, theirs, our_count * sizeof *ours) == 0) {
        return;
    }
    struct ia2_cfi cfi;
    size_t last = their_count - 1;
    bool shorter = their_count < our_count && memcmp(ours, theirs, their_count * sizeof *ours) == 0;
    if (shorter && !ia2_cfi_find(ours[last] - (last ? 1 : 0), &cfi)) {
        silent++; /* in _init and _fini of every object: theirs stops there, ours goes on */
    } else if (differences++ == 0) {
        memcpy(different.ours, ours, our_count * sizeof *ours);
        memcpy(different.theirs, theirs, their_count * sizeof *theirs);
        different.our_count = our_count;
        different.their_count = their_count;
    }
}

static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    uintptr_t ours[ROOM];
    uintptr_t theirs[ROOM];
    size_t our_count = ia2_unwind(context, ours, ROOM);
    size_t their_count = (size_t)backtrace((void **)theirs, ROOM);
    size_t skip = 0;
    while (skip < their_count && theirs[skip] != ours[0]) {
        skip++; /* this handler */
    }
    steps++;
    lookups += is_plt_jump(ours[0]);
    note(ours, our_count, theirs + skip, their_count - skip);
}

static void on_usr1(int signal) {
    char text[32];
    snprintf(text, sizeof text, "%d", signal);
    handlers++;
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void work(void) {
    int numbers[] = {5, 3, 9, 1};
    qsort(numbers, 4, sizeof *numbers, compare);
    char text[256];
    snprintf(text, sizeof text, "%s %g %d\n", "text", 1.5, numbers[0]);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* the vDSO */
    void *library = dlopen("libBrokenLocale.so.1", RTLD_LAZY);
    if (library) {
        dlclose(library);
    }
    raise(SIGUSR1);
    regex_t expression;
    regcomp(&expression, "a(b|c)*d", REG_EXTENDED);
    regexec(&expression, "abcd", 0, NULL, 0);
    regfree(&expression);
    char *memory = malloc(100000);
    memcpy(memory, text, sizeof text);
    free(memory);
    strftime(text, sizeof text, "%c", gmtime(&now.tv_sec));
}

static void single_step(bool on) {
    if (on) {
        __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
    } else {
        __asm__ volatile("pushfq\n andq $~0x100, (%%rsp)\n popfq" ::: "memory", "cc");
    }
}

/* Seconds. AddressSanitizer's own part in dlopen and in the work of the handler is stepped through, too. */
#ifdef __SANITIZE_ADDRESS__
#define LIMIT 250
#else
#define LIMIT 50
#endif

Test(unwind_steps, every_instruction, .timeout = LIMIT) {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    signal(SIGUSR1, on_usr1);
    void *first[1];
    backtrace(first, 1); /* loads libgcc_s now */
    single_step(true);
    work();
    single_step(false);
    cr_expect_eq(differences, 0, "%lu of %lu stacks differ", differences, steps);
    for (size_t i = 0; i < different.our_count || i < different.their_count; i++) {
        cr_log_warn("%2zu: %16lx, backtrace() says %16lx", i, different.ours[i], different.theirs[i]);
    }
    cr_expect_gt(steps, 20000, "%lu instructions", steps);
    cr_expect_gt(lookups, 10, "%lu PLT entries", lookups);
    cr_expect_eq(handlers, 1);
    cr_expect_gt(silent, 0, "nothing without frame information was met");
}
