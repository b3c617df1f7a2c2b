/* A process that replaces itself ends without running a destructor; who wonders where the report is must be told. Each hook
 * says what is about to happen and passes on. Safe after vfork(): nothing is changed but a descriptor's file. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "events.h"
#include "sealed.h"

IA2_PUBLIC int execve(const char *path, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    ia2_event_exec(path, "execve", false);
    return ia2_sealed.real.execve(path, argv, envp);
}

IA2_PUBLIC int execv(const char *path, char *const argv[]) {
    ia2_real_resolve();
    ia2_event_exec(path, "execv", false);
    return ia2_sealed.real.execv(path, argv);
}

IA2_PUBLIC int execvp(const char *file, char *const argv[]) {
    ia2_real_resolve();
    ia2_event_exec(file, "execvp", false);
    return ia2_sealed.real.execvp(file, argv);
}

IA2_PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    ia2_event_exec(file, "execvpe", false);
    return ia2_sealed.real.execvpe(file, argv, envp);
}

IA2_PUBLIC int fexecve(int fd, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    ia2_event_exec(NULL, "fexecve", false);
    return ia2_sealed.real.fexecve(fd, argv, envp);
}

IA2_PUBLIC int execveat(int folder, const char *path, char *const argv[], char *const envp[], int flags) {
    ia2_real_resolve();
    ia2_event_exec(path, "execveat", false);
    return ia2_sealed.real.execveat(folder, path, argv, envp, flags);
}

IA2_PUBLIC int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                           const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    ia2_event_exec(path, "posix_spawn", true);
    return ia2_sealed.real.posix_spawn(pid, path, actions, attributes, argv, envp);
}

IA2_PUBLIC int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                            const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    ia2_event_exec(file, "posix_spawnp", true);
    return ia2_sealed.real.posix_spawnp(pid, file, actions, attributes, argv, envp);
}

/* libc starts the shell within itself, where the hooks above are not asked. */
IA2_PUBLIC int system(const char *command) {
    ia2_real_resolve();
    if (command) { /* NULL only asks whether there is a shell */
        ia2_event_exec("/bin/sh", "system", true);
    }
    return ia2_sealed.real.system(command);
}

IA2_PUBLIC FILE *popen(const char *command, const char *type) {
    ia2_real_resolve();
    ia2_event_exec("/bin/sh", "popen", true);
    return ia2_sealed.real.popen(command, type);
}

/* ---- the variadic ones: the arguments become an array on the stack, as glibc's own do it ----------------------------- */

static size_t count_arguments(va_list list) {
    size_t count = 1;
    while (va_arg(list, char *)) {
        count++;
    }
    return count;
}

static void copy_arguments(char **argv, const char *first, size_t count, va_list list) {
    argv[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; i <= count; i++) {
        argv[i] = va_arg(list, char *); /* the last one is the NULL */
    }
}

IA2_PUBLIC int execl(const char *path, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    copy_arguments(argv, first, count, list);
    va_end(list);
    return execve(path, argv, environ);
}

IA2_PUBLIC int execlp(const char *file, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    copy_arguments(argv, first, count, list);
    va_end(list);
    return execvp(file, argv);
}

IA2_PUBLIC int execle(const char *path, const char *first, ...) {
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(list);
    va_end(list);
    char *argv[count + 1];
    va_start(list, first);
    copy_arguments(argv, first, count, list);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, argv, envp);
}
