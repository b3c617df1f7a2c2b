#include "hang.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#include "events.h"
#include "system.h"

#define MOST_THREADS 4096u /* lines of a dump: a trace must stay readable, and its file finite */

/* A record of getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* The number that `name` is, 0 where it is none. */
static long number_of(const char *name) {
    long number = 0;
    for (; *name >= '0' && *name <= '9' && number < INT32_MAX / 10; name++) {
        number = 10 * number + (*name - '0');
    }
    return *name ? 0 : number;
}

/* Sends `signal` to every other thread in `folder` (/proc/self/task). */
static void pass_on(long folder, int signal) {
    const long process = ia2_getpid();
    const long self = ia2_gettid();
    unsigned count = 0;
    _Alignas(struct entry) char buffer[1024];
    long filled;
    while ((filled = ia2_syscall3(SYS_getdents64, folder, (long)buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < filled && count < MOST_THREADS;) {
            const struct entry *entry = (const void *)(buffer + at);
            long thread = number_of(entry->name);
            at += entry->length;
            if (thread && thread != self) { /* one that has ended meanwhile is no failure */
                ia2_syscall3(SYS_tgkill, process, thread, signal);
                count++;
            }
        }
    }
}

void ia2_hang_dump(const siginfo_t *info, const ucontext_t *context) {
    if (info->si_code == SI_TKILL && info->si_pid == ia2_getpid()) {
        ia2_event_stack(context);
        return;
    }
    long folder = ia2_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ia2_event_timeout(folder < 0 ? "the other threads are not known: /proc cannot be read" : "", context);
    if (folder >= 0) {
        pass_on(folder, info->si_signo);
        ia2_syscall1(SYS_close, folder);
    }
}
