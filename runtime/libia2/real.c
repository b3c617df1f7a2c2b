#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#include "sealed.h"

/* Where each answer goes. */
static const struct {
    const char *name;
    size_t offset;
} table[] = {
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
    {"__cxa_atexit", offsetof(struct ia2_real, cxa_atexit)}, /* last: it says that all are there */
};

void ia2_real_resolve_now(void) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *found = dlsym(RTLD_NEXT, table[i].name);
        *(void **)((char *)&ia2_sealed.real + table[i].offset) = found;
    }
}
