/* Compiled twice: -DNAME=one, -DNAME=two. */
#include "ownership.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "say.h"

#define JOIN_EXPANDED(a, b) a##b
#define JOIN(a, b) JOIN_EXPANDED(a, b)
#define TEXT_EXPANDED(a) #a
#define TEXT(a) TEXT_EXPANDED(a)
#define OWN(name) JOIN(NAME, name)

extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_atexit(void (*)(void *), void *, void *);
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
int __cxa_at_quick_exit(void (*)(void), void *);

extern char weak_variable[64];
#ifdef DEFINES_WEAK
__attribute__((weak)) char weak_variable[64] = " ";
#endif

static char data[64] = " ";
static char *aimed;
static char *fini_array_target;
static char *fini_target;

/* Not static: the names are in the symbol table for the tests to find, once for each library. */
void OWN(_touch)(void *at);
void OWN(_touch)(void *at) { *(volatile char *)at = '!'; }

void OWN(_touch_on_exit)(int status, void *at);
void OWN(_touch_on_exit)(int status, void *at) { *(volatile char *)at = status == 7 ? '!' : '?'; }

static void aim(char *at) { aimed = at; }

void OWN(_touch_aimed)(void);
void OWN(_touch_aimed)(void) { *(volatile char *)aimed = '!'; }

void OWN(_touch_both)(void *at);
void OWN(_touch_both)(void *at) {
    *(volatile char *)at = '!';
    *(volatile char *)data = '!';
}

static void handler(int signal) { *(volatile char *)aimed = signal == SIGUSR1 ? '!' : '?'; }

void OWN(_raises)(void *unused);
void OWN(_raises)(void *unused) {
    (void)unused;
    raise(SIGUSR1);
    data[0] = '!';
}

/* ---- registrations: a comparison, so that none is a tail call ---- */

static int call_cxa_atexit(void (*function)(void *), void *argument, void *handle) {
    return __cxa_atexit(function, argument, handle) == 0 ? 0 : -1;
}

static int call_thread_atexit(void (*function)(void *), void *argument, void *handle) {
    return __cxa_thread_atexit_impl(function, argument, handle) == 0 ? 0 : -1;
}

static int call_quick_exit(void (*function)(void), void *handle) {
    return __cxa_at_quick_exit(function, handle) == 0 ? 0 : -1;
}

static int call_on_exit(void (*function)(int, void *), void *argument) {
    return on_exit(function, argument) == 0 ? 0 : -1;
}

/* ---- what the object itself runs ---- */

static int is_clean(const char *memory) {
    static const char clean[64] = " ";

    return memcmp(memory, clean, sizeof clean) == 0;
}

__attribute__((destructor)) void OWN(_fini_array)(void);
__attribute__((destructor)) void OWN(_fini_array)(void) {
    if (fini_array_target != NULL)
        *(volatile char *)fini_array_target = '!';
}

void OWN(_fini)(void);
void OWN(_fini)(void) {
    if (fini_target != NULL)
        *(volatile char *)fini_target = '!';
    say(TEXT(NAME) " data", is_clean(data) ? "clean" : "touched");
#ifdef DEFINES_WEAK
    say(TEXT(NAME) " weak", is_clean(weak_variable) ? "clean" : "touched");
#endif
}

static void entry_runs(void) { say(TEXT(NAME), "entry runs"); }

__attribute__((section(".fini_array"), used)) static void (*entry)(void) = entry_runs;

static void tamper(void (*with)(void)) {
    void *page = (void *)((uintptr_t)&entry & ~(uintptr_t)4095);

    if (mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0)
        _exit(96);
    *(void (*volatile *)(void))&entry = with;
    if (mprotect(page, 4096, PROT_READ) != 0)
        _exit(96);
}

struct owner OWN(_owner)(void) {
    return (struct owner){
        .data = data,
        .handle = &__dso_handle,
        .weak = weak_variable,
        .touch = OWN(_touch),
        .touch_on_exit = OWN(_touch_on_exit),
        .aim = aim,
        .touch_aimed = OWN(_touch_aimed),
        .touch_both = OWN(_touch_both),
        .handler = handler,
        .raises = OWN(_raises),
        .cxa_atexit = call_cxa_atexit,
        .thread_atexit = call_thread_atexit,
        .quick_exit = call_quick_exit,
        .on_exit = call_on_exit,
        .fini_array_target = &fini_array_target,
        .fini_target = &fini_target,
        .tamper = tamper,
    };
}
