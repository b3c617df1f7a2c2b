/* libculprit.so: a destructor for each way to touch memory that is another's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "say.h"
#include "secret.h"

enum { LENGTH = sizeof SECRET - 1 };

static volatile char *target;
static char *open_start;
static char own[SECRET_ROOM];

/* ---- by instruction ---- */

static void culprit_reads(void) {
    for (int i = 0; i < LENGTH; i++)
        own[i] = target[i];
    own[LENGTH] = '\0';
    say("culprit read", own);
    say("culprit", "done");
}

static void culprit_writes(void) {
    for (int i = 0; i < LENGTH; i++)
        target[i] = 'X';
    say("culprit", "done");
}

/* The C library reads main's copy of `stdout` on the way: that it may, and what lies beside it stays closed. */
static void culprit_prints_and_writes(void) {
    static const char *volatile nothing = "";

    printf("%s", nothing);
    for (int i = 0; i < LENGTH; i++)
        target[i] = 'X';
    say("culprit", "done");
}

/* Through a function of its own: the stack has the way from the instruction to the destructor. */
__attribute__((noinline, noclone)) static void culprit_inner(volatile char *at) {
    *at = 'X';
    __asm__ volatile("" ::: "memory"); /* no tail call either: this frame returns */
}

__attribute__((noinline, noclone)) static void culprit_middle(volatile char *at) {
    culprit_inner(at);
    __asm__ volatile("" ::: "memory");
}

static void culprit_nests(void) {
    culprit_middle(target);
    say("culprit", "done");
}

/* ---- by system call ---- */

static void tell(const char *call, long result) {
    say_number("culprit", call, result < 0 ? -errno : result);
    say("culprit", "done");
}

static void culprit_calls_write(void) { tell("write", write(STDOUT_FILENO, (char *)target, LENGTH)); }

static void culprit_calls_raw_write(void) {
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_write), "D"(STDOUT_FILENO), "S"(target), "d"(LENGTH)
                     : "rcx", "r11", "memory");
    say_number("culprit", "write", result);
    say("culprit", "done");
}

static void culprit_calls_writev(void) {
    char prefix[] = "own ";
    struct iovec parts[] = {{prefix, sizeof prefix - 1}, {(char *)target, LENGTH}};

    tell("writev", writev(STDOUT_FILENO, parts, 2));
}

/* A file in memory with `size` bytes at `content`, to be read from its begin. */
static int file_with(const char *content, size_t size) {
    int file = memfd_create("content", MFD_CLOEXEC);

    if (file < 0 || write(file, content, size) != (ssize_t)size || lseek(file, 0, SEEK_SET) != 0)
        _exit(99);
    return file;
}

static void culprit_calls_read(void) {
    char content[LENGTH];

    memset(content, 'X', sizeof content);
    tell("read", read(file_with(content, sizeof content), (char *)target, sizeof content));
}

static void culprit_calls_readv(void) {
    char content[2 * LENGTH];
    char mine[LENGTH];
    struct iovec parts[] = {{mine, LENGTH}, {(char *)target, LENGTH}};

    memset(content, 'X', sizeof content);
    tell("readv", readv(file_with(content, sizeof content), parts, 2));
}

static void culprit_calls_open(void) { tell("open", open((char *)target, O_RDONLY) < 0 ? -1 : 0); }

static void culprit_calls_stat(void) { tell("stat", stat("/", (struct stat *)target)); }

/* ---- across a border: the kernel does the part that is open, and says how much that was ---- */

static void culprit_writes_short(void) {
    size_t size = (size_t)((char *)target + LENGTH - open_start);
    int file = memfd_create("copy", MFD_CLOEXEC);
    long result = write(file, open_start, size);
    long found = pread(file, own, sizeof own - 1, 0);

    for (long i = 0; i < found; i++)
        own[i] = own[i] == '\0' ? '.' : own[i];
    own[found < 0 ? 0 : found] = '\0';
    say("culprit wrote", own);
    tell("short", result);
}

static void culprit_reads_short(void) {
    size_t size = (size_t)((char *)target + LENGTH - open_start);
    char content[SECRET_ROOM] = {0}; /* what lies between the border and the secret is the compiler's, and 0 */

    memset(content, 'X', 8);
    memset(content + size - LENGTH, 'X', LENGTH);
    tell("short", read(file_with(content, size), open_start, size));
}

static const struct {
    const char *name;
    void (*run)(void);
} actions[] = {
    {"reads", culprit_reads},
    {"writes", culprit_writes},
    {"prints_and_writes", culprit_prints_and_writes},
    {"nests", culprit_nests},
    {"calls_write", culprit_calls_write},
    {"calls_raw_write", culprit_calls_raw_write},
    {"calls_writev", culprit_calls_writev},
    {"calls_read", culprit_calls_read},
    {"calls_readv", culprit_calls_readv},
    {"calls_open", culprit_calls_open},
    {"calls_stat", culprit_calls_stat},
    {"writes_short", culprit_writes_short},
    {"reads_short", culprit_reads_short},
};

int culprit_register(const char *action, char *address, char *start) {
    target = address;
    open_start = start;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(actions[i].name, action) == 0)
            return atexit(actions[i].run) == 0 ? 0 : -1; /* a comparison, so that this is no tail call */
    return -1;
}

__attribute__((destructor)) static void culprit_fini(void) { say("culprit", "fini"); }
