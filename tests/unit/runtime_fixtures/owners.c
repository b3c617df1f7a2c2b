/* `owners SCENARIO`: registrations whose owner has to be worked out. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int __cxa_atexit(void (*)(void *), void *, void *);
extern void *__dso_handle;

#ifdef WITH_REGISTRAR
void registrar_uses(void (*function)(int, void *)); /* registrar.c */
void holder_says(int status, void *argument);       /* holder.c */
#endif

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) {
        abort();
    }
}

static void first(void) { say("first\n"); }

static void plain(void) { atexit(first); }

/* Code that was made at run time, in no object. */
static void *code(const uint8_t *bytes, size_t size) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        abort();
    }
    memcpy(page, bytes, size);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    return page;
}

/* mov (%rdi),%eax; inc %eax; mov %eax,(%rdi); ret */
static const uint8_t increments[] = {0x8b, 0x07, 0xff, 0xc0, 0x89, 0x07, 0xc3};

/* sub $8,%rsp; call *%rcx; add $8,%rsp; ret: what registers from there, with the first three arguments as they came */
static const uint8_t registers[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd1, 0x48, 0x83, 0xc4, 0x08, 0xc3};

static int increments_seen;

static void told(void) { say(increments_seen == 1 ? "ran once\n" : "did not run once\n"); }

static void jit(void) {
    atexit(told);
    __cxa_atexit((void (*)(void *))code(increments, sizeof increments), &increments_seen, NULL);
}

static void jit_by_jit(void) {
    void (*by)(void *, void *, void *, void *) =
        (void (*)(void *, void *, void *, void *))code(registers, sizeof registers);
    atexit(told);
    by(code(increments, sizeof increments), &increments_seen, NULL, (void *)__cxa_atexit);
}

/* Even so, __dso_handle says whose it is. */
static void jit_with_dso(void) {
    void (*by)(void *, void *, void *, void *) =
        (void (*)(void *, void *, void *, void *))code(registers, sizeof registers);
    atexit(told);
    by(code(increments, sizeof increments), &increments_seen, &__dso_handle, (void *)__cxa_atexit);
}

/* A dso_handle that points nowhere, as a damaged one does: the registrar's. */
static void wild_dso(void) {
    static int counter;
    __cxa_atexit((void (*)(void *))code(increments, sizeof increments), &counter, (void *)0x10);
}

/* A function of libc, which is shared: the registrar's. */
static void libc_on_exit(void) { on_exit((void (*)(int, void *))(void *)getppid, NULL); }

#ifdef WITH_REGISTRAR
static void by_library(void) { registrar_uses(holder_says); }

static void own_says(int status, void *argument) {
    (void)status;
    say(argument ? "own\n" : "own without argument\n");
}

static void own_by_library(void) { registrar_uses(own_says); }
#endif

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"plain", plain},           {"jit", jit},
    {"jit-by-jit", jit_by_jit}, {"jit-with-dso", jit_with_dso},
    {"wild-dso", wild_dso},     {"libc-on-exit", libc_on_exit},
#ifdef WITH_REGISTRAR
    {"by-library", by_library}, {"own-by-library", own_by_library},
#endif
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 3;
        }
    }
    return 99;
}
