/* `ownership RULE own|other`: a destructor that runs as libone.so, by one of the rules of ownership, marks a byte of libone's
 * (own) or of libtwo's (other). In the rules where code and registration are different objects', the code is libtwo's. */
#include "ownership.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "say.h"

static struct owner one;
static struct owner two;
static char *target;
static char main_data[64] = " ";

/* ---- the rules ---- */

static void fini_array(void) { *one.fini_array_target = target; }

static void fini(void) { *one.fini_target = target; }

static void cxa_atexit(void) { one.cxa_atexit(two.touch, target, one.handle); }

static void thread_atexit(void) { one.thread_atexit(two.touch, target, one.handle); }

/* As the C library would keep it for `at_quick_exit` in libone. */
static void at_quick(void) {
    one.aim(target);
    one.quick_exit(one.touch_aimed, one.handle);
    fflush(stdout);
    quick_exit(7);
}

/* The argument is libtwo's copy of a weak variable: libtwo is open, too. Any other byte of libtwo's is not. */
static void vague(void) { one.cxa_atexit(one.touch_both, target == one.data ? two.weak : target, one.handle); }

static void holder_of_on_exit(void) { two.on_exit(one.touch_on_exit, target); }

/* A function of the C library, which is shared: the registrar's. It stores the time, by the clock whose number the status is. */
static void registrar_of_on_exit(void) {
    one.on_exit((void (*)(int, void *))(void *)clock_gettime, (char *)(((uintptr_t)target + 15) & ~(uintptr_t)15));
}

/* Registered by libtwo in libone's name. */
static void foreign(void) { two.cxa_atexit(one.touch, target, one.handle); }

/* `movb $'!',(%rdi); ret`, in no object. */
static void *make_code(const uint8_t *bytes, size_t size) {
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        _exit(96);
    memcpy(page, bytes, size);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0)
        _exit(96);
    return page;
}

static const uint8_t marks[] = {0xc6, 0x07, '!', 0xc3};

/* `sub $8,%rsp; call *%rcx; add $8,%rsp; ret`: registers what it is given from code in no object. */
static const uint8_t registers[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd1, 0x48, 0x83, 0xc4, 0x08, 0xc3};

int __cxa_atexit(void (*)(void *), void *, void *);

static void without_handle(void) { one.cxa_atexit((void (*)(void *))make_code(marks, sizeof marks), target, NULL); }

static void unknown(void) {
    void (*by)(void *, void *, void *, void *);

    *(void **)&by = make_code(registers, sizeof registers);
    by(make_code(marks, sizeof marks), target, NULL, (void *)__cxa_atexit);
}

/* The destructor is libtwo's; its signal is handled by libone. What is neither's is main's. */
static void handler(void) {
    struct sigaction action = {.sa_handler = one.handler};

    one.aim(target == one.data ? target : main_data);
    if (sigaction(SIGUSR1, &action, NULL) != 0 || two.cxa_atexit(two.raises, NULL, two.handle) != 0)
        _exit(96);
}

/* ---- a .fini_array that is not what it was ---- */

static void tampered(void) { say("main", "tampered entry runs"); }

static void tamper_with_function(void) { one.tamper(tampered); }

static void tamper_with_data(void) { one.tamper((void (*)(void))(void *)one.data); }

static void tamper_with_nowhere(void) { one.tamper((void (*)(void))0x123456789000); }

static const struct {
    const char *name;
    void (*run)(void);
} rules[] = {
    {"fini_array", fini_array},
    {"fini", fini},
    {"cxa_atexit", cxa_atexit},
    {"thread_atexit", thread_atexit},
    {"quick_exit", at_quick},
    {"vague", vague},
    {"on_exit-holder", holder_of_on_exit},
    {"on_exit-registrar", registrar_of_on_exit},
    {"foreign", foreign},
    {"no-handle", without_handle},
    {"unknown", unknown},
    {"handler", handler},
    {"tamper-function", tamper_with_function},
    {"tamper-data", tamper_with_data},
    {"tamper-nowhere", tamper_with_nowhere},
};

int main(int argc, char **argv) {
    one = one_owner();
    two = two_owner();
    if (argc < 3)
        return 98;
    target = strcmp(argv[2], "own") == 0 ? one.data : two.data;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, argv[1]) == 0) {
            rules[i].run();
            return 7;
        }
    return 97;
}
