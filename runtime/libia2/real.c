#include <stddef.h>

#include "next.h"
#include "sealed.h"

/* Where each answer goes. */
static const struct ia2_next table[] = {
    {"on_exit", offsetof(struct ia2_real, on_exit)},
    {"__cxa_at_quick_exit", offsetof(struct ia2_real, cxa_at_quick_exit)},
    {"__cxa_thread_atexit_impl", offsetof(struct ia2_real, cxa_thread_atexit_impl)},
    {"pthread_key_create", offsetof(struct ia2_real, key_create)},
    {"pthread_key_delete", offsetof(struct ia2_real, key_delete)},
    {"__libc_start_main", offsetof(struct ia2_real, libc_start_main)},
    {"exit", offsetof(struct ia2_real, exit)},
    {"quick_exit", offsetof(struct ia2_real, quick_exit)},
    {"_exit", offsetof(struct ia2_real, underscore_exit)},
    {"dlclose", offsetof(struct ia2_real, dlclose)},
    {"execve", offsetof(struct ia2_real, execve)},
    {"execv", offsetof(struct ia2_real, execv)},
    {"execvp", offsetof(struct ia2_real, execvp)},
    {"execvpe", offsetof(struct ia2_real, execvpe)},
    {"fexecve", offsetof(struct ia2_real, fexecve)},
    {"execveat", offsetof(struct ia2_real, execveat)},
    {"posix_spawn", offsetof(struct ia2_real, posix_spawn)},
    {"posix_spawnp", offsetof(struct ia2_real, posix_spawnp)},
    {"system", offsetof(struct ia2_real, system)},
    {"popen", offsetof(struct ia2_real, popen)},
    {"sigaction", offsetof(struct ia2_real, sigaction)},
    {"signal", offsetof(struct ia2_real, signal)},
    {"sysv_signal", offsetof(struct ia2_real, sysv_signal)},
    {"sigset", offsetof(struct ia2_real, sigset)},
    {"sigignore", offsetof(struct ia2_real, sigignore)},
    {"siginterrupt", offsetof(struct ia2_real, siginterrupt)},
    {"sigaltstack", offsetof(struct ia2_real, sigaltstack)},
    {"fopencookie", offsetof(struct ia2_real, fopencookie)},
    {"__cxa_atexit", offsetof(struct ia2_real, cxa_atexit)},
};

_Static_assert(sizeof table / sizeof *table <= IA2_MOST_NEXT, "there is room for each");

void ia2_real_resolve_now(void) {
    struct ia2_real found = {0};
    ia2_next_resolve(table, sizeof table / sizeof *table, &found);
    ia2_sealed.real = found; /* when all are known: __cxa_atexit says that they are there */
}
