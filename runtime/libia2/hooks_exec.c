/* A process that replaces itself ends without running a destructor; who wonders where the report is must be told. Each hook
 * says what is about to happen and passes on, with the arguments and the environment open wherever they lie. Safe after
 * vfork(): nothing is changed there but a descriptor's file. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "events.h"
#include "gate.h"
#include "loan.h"
#include "sealed.h"

/* Says what is about to happen, and opens all memory for it. */
static struct ia2_loan lend(const char *path, const char *how, bool child) {
    uint32_t before = ia2_gate_open();
    ia2_event_exec(path, how, child);
    ia2_gate_close(before);
    return ia2_loan_begin();
}

IA2_PUBLIC int execve(const char *path, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(path, "execve", false);
    int result = ia2_sealed.real.execve(path, argv, envp);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int execv(const char *path, char *const argv[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(path, "execv", false);
    int result = ia2_sealed.real.execv(path, argv);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int execvp(const char *file, char *const argv[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(file, "execvp", false);
    int result = ia2_sealed.real.execvp(file, argv);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(file, "execvpe", false);
    int result = ia2_sealed.real.execvpe(file, argv, envp);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int fexecve(int fd, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(NULL, "fexecve", false);
    int result = ia2_sealed.real.fexecve(fd, argv, envp);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int execveat(int folder, const char *path, char *const argv[], char *const envp[], int flags) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(path, "execveat", false);
    int result = ia2_sealed.real.execveat(folder, path, argv, envp, flags);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                           const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(path, "posix_spawn", true);
    int result = ia2_sealed.real.posix_spawn(pid, path, actions, attributes, argv, envp);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                            const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    ia2_real_resolve();
    struct ia2_loan loan = lend(file, "posix_spawnp", true);
    int result = ia2_sealed.real.posix_spawnp(pid, file, actions, attributes, argv, envp);
    ia2_loan_end(&loan);
    return result;
}

/* libc starts the shell within itself, where the hooks above are not asked. */
IA2_PUBLIC int system(const char *command) {
    ia2_real_resolve();
    if (!command) { /* that only asks whether there is a shell */
        return ia2_sealed.real.system(NULL);
    }
    struct ia2_loan loan = lend("/bin/sh", "system", true);
    int result = ia2_sealed.real.system(command);
    ia2_loan_end(&loan);
    return result;
}

IA2_PUBLIC FILE *popen(const char *command, const char *type) {
    ia2_real_resolve();
    struct ia2_loan loan = lend("/bin/sh", "popen", true);
    FILE *result = ia2_sealed.real.popen(command, type);
    ia2_loan_end(&loan);
    return result;
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
