#include "tasks.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "system.h"

#define MOST_THREADS 4096u /* a bound for what is written or waited for */

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

long ia2_tasks_open(void) {
    return ia2_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

/* Calls `each` with the number of every thread but the caller; counts those for which it says true. */
static unsigned walk(long folder, bool (*each)(long thread, int signal), int signal) {
    const long self = ia2_gettid();
    unsigned count = 0;
    _Alignas(struct entry) char buffer[1024];
    long filled;
    ia2_syscall3(SYS_lseek, folder, 0, SEEK_SET);
    while ((filled = ia2_syscall3(SYS_getdents64, folder, (long)buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < filled && count < MOST_THREADS;) {
            const struct entry *entry = (const void *)(buffer + at);
            long thread = number_of(entry->name);
            at += entry->length;
            count += thread && thread != self && each(thread, signal);
        }
    }
    return count;
}

/* One that has ended meanwhile is no failure. */
static bool send(long thread, int signal) { return ia2_syscall3(SYS_tgkill, ia2_getpid(), thread, signal) == 0; }

unsigned ia2_tasks_signal_others(long folder, int signal) { return walk(folder, send, signal); }

unsigned ia2_tasks_count_others(long folder) { return walk(folder, send, 0); }

/* /proc/self/stat: "pid (name) state …"; the name may hold anything, so the last bracket counts. */
bool ia2_tasks_first_is_gone(void) {
    if (ia2_getpid() == ia2_gettid()) {
        return false;
    }
    char text[256];
    long file = ia2_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    long length = file < 0 ? 0 : ia2_syscall3(SYS_read, file, (long)text, sizeof text);
    if (file >= 0) {
        ia2_syscall1(SYS_close, file);
    }
    while (length > 0 && text[length - 1] != ')') {
        length--;
    }
    return length > 0 && length + 1 < (long)sizeof text && text[length + 1] == 'Z';
}
