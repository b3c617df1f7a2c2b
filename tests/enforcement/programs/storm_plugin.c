/* stormN.so: destructors on data of this object's own. None of __cxa_atexit: the exit runs such a handler without holding any lock, while a
 * dlclose in another thread unmaps its code (glibc, stdlib/exit.c): a program that does that is wrong by itself. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);

static _Atomic uint32_t alive = 0x600d, runs;

/* Whoever runs us touches this object's data: it must be there, and what it was. */
static void touch(void) {
    if (alive != 0x600d)
        abort();
    runs++;
}

static void at_exit(void *unused) {
    (void)unused;
    touch();
}

__attribute__((constructor)) static void begins(void) { touch(); }

__attribute__((destructor)) static void ends(void) { touch(); }

void storm_at_thread_end(void) {
    if (__cxa_thread_atexit_impl(at_exit, NULL, &__dso_handle) != 0)
        abort();
}
