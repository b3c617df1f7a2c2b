/* System calls that a test takes away from a process of its own: what an old kernel, or a sandbox, does not have. */
#ifndef DENIAL_H
#define DENIAL_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct denial {
    long number;       /* of the system call; 0: none */
    uint32_t flag;     /* only where the argument has this bit; 0: always */
    uint32_t failure;  /* the errno that it fails with */
    uint32_t argument; /* which one, from 0 */
};

/* From now on and for good. Returns 0 on success. */
static inline int deny(const struct denial *denial) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* seccomp_data.nr */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)denial->number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16 + 8 * denial->argument), /* seccomp_data.args[argument], lower half */
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, denial->flag ? denial->flag : UINT32_MAX, 0, denial->flag ? 1 : 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | denial->failure),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (denial->number == 0) {
        return 0;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Does `body(data)` in a child that has the first of `denials` up to one without number taken away. Returns its wait status. */
static inline int run_denied(const struct denial *denials, void (*body)(void *), void *data) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        for (; denials->number; denials++) {
            if (deny(denials) != 0) {
                _exit(99);
            }
        }
        body(data);
        _exit(0);
    }
    return waitpid(child, &status, 0) == child ? status : -1;
}

#endif
