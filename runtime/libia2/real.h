/* The functions that we stand in front of, as the objects after us define them (dlsym with RTLD_NEXT). */
#ifndef IA2_REAL_H
#define IA2_REAL_H

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <threads.h>

struct ia2_real {
    int (*cxa_atexit)(void (*)(void *), void *, void *);
    int (*on_exit)(void (*)(int, void *), void *);
    int (*cxa_at_quick_exit)(void (*)(void *), void *);
    int (*cxa_thread_atexit_impl)(void (*)(void *), void *, void *);
    int (*key_create)(pthread_key_t *, void (*)(void *));
    int (*key_delete)(pthread_key_t);
    int (*libc_start_main)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                           void *);
    void (*exit)(int) __attribute__((noreturn));
    void (*quick_exit)(int) __attribute__((noreturn));
    void (*underscore_exit)(int) __attribute__((noreturn));
    int (*dlclose)(void *);
    int (*execve)(const char *, char *const[], char *const[]);
    int (*execv)(const char *, char *const[]);
    int (*execvp)(const char *, char *const[]);
    int (*execvpe)(const char *, char *const[], char *const[]);
    int (*fexecve)(int, char *const[], char *const[]);
    int (*execveat)(int, const char *, char *const[], char *const[], int);
    int (*posix_spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                       char *const[], char *const[]);
    int (*posix_spawnp)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                        char *const[], char *const[]);
    int (*system)(const char *);
    FILE *(*popen)(const char *, const char *);
    int (*sigaction)(int, const struct sigaction *, struct sigaction *);
    void (*(*signal)(int, void (*)(int)))(int);
    void (*(*sysv_signal)(int, void (*)(int)))(int);
    void (*(*sigset)(int, void (*)(int)))(int);
    int (*sigignore)(int);
    int (*siginterrupt)(int, int);
    int (*sigaltstack)(const stack_t *, stack_t *);
    FILE *(*fopencookie)(void *, const char *, cookie_io_functions_t);
};

#define IA2_PUBLIC __attribute__((visibility("default")))

#endif
