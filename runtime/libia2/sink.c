#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "system.h"

#define SIGNAL_BIT(number) (1ul << ((number) - 1))

static long control(int fd, int command, long argument) { return ia2_syscall3(SYS_fcntl, fd, command, argument); }

/* A duplicate of `fd` as high as the limit allows, close-on-exec; the limit may be lower than it looks, so try downwards. */
static int duplicate_high(int fd) {
    struct rlimit limit = {0, 0};
    long lowest = 256;
    if (ia2_syscall2(SYS_getrlimit, RLIMIT_NOFILE, (long)&limit) == 0 && limit.rlim_cur > 32) {
        /* Not above 64 Ki: the kernel's descriptor table grows to the highest number in use. */
        lowest = limit.rlim_cur > 65536 ? 65536 - 32 : (long)limit.rlim_cur - 32;
    }
    for (; lowest > 2; lowest /= 2) {
        long result = control(fd, F_DUPFD_CLOEXEC, lowest);
        if (result >= 0 || result == -EBADF) {
            return (int)result;
        }
    }
    return (int)control(fd, F_DUPFD_CLOEXEC, 3);
}

static bool identify(int fd, uint64_t *device, uint64_t *inode) {
    struct stat status;
    if (ia2_syscall2(SYS_fstat, fd, (long)&status) != 0) {
        return false;
    }
    *device = status.st_dev;
    *inode = status.st_ino;
    return true;
}

static int parse_number(const char *text) {
    int value = 0;
    if (!*text) {
        return -1;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > 1000000) {
            return -1;
        }
        value = value * 10 + (*text - '0');
    }
    return value;
}

/* Fills sink->path with the absolute form of `path`; leaves it empty when that is too long. */
static void remember_path(struct ia2_sink *sink, const char *path) {
    size_t used = 0;
    if (path[0] != '/') {
        long length = ia2_syscall2(SYS_getcwd, (long)sink->path, sizeof sink->path);
        if (length <= 0 || (size_t)length >= sizeof sink->path) {
            sink->path[0] = '\0';
            return;
        }
        used = (size_t)length; /* counts the NUL, where the slash goes */
        sink->path[used - 1] = '/';
    }
    if (!ia2_copy(sink->path + used, sizeof sink->path - used, path)) {
        sink->path[0] = '\0';
    }
}

static int adopt(struct ia2_sink *sink, int fd) {
    int high = duplicate_high(fd);
    if (high >= 0 && !identify(high, &sink->device, &sink->inode)) {
        ia2_syscall1(SYS_close, high);
        high = -EBADF;
    }
    sink->open = high >= 0;
    sink->fd = high;
    sink->owner = ia2_getpid();
    return high < 0 ? high : 0;
}

int ia2_sink_open(struct ia2_sink *sink, const char *target) {
    if (!*target) {
        return 0;
    }
    if (ia2_equal(target, "1")) {
        return adopt(sink, 2);
    }
    if (ia2_starts_with(target, "fd:")) {
        int number = parse_number(target + 3);
        return number < 0 ? -EBADF : adopt(sink, number);
    }
    long fd = ia2_syscall4(SYS_openat, AT_FDCWD, (long)target, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return (int)fd;
    }
    int result = adopt(sink, (int)fd);
    ia2_syscall1(SYS_close, fd);
    if (result == 0) {
        remember_path(sink, target);
    }
    return result;
}

void ia2_sink_inherit(struct ia2_sink *sink) { sink->owner = ia2_getpid(); }

static bool is_target(const struct ia2_sink *sink, int fd) {
    uint64_t device;
    uint64_t inode;
    return identify(fd, &device, &inode) && device == sink->device && inode == sink->inode;
}

/* Not to wait for the reader of a FIFO: nobody may be there any more. Returns the descriptor or -errno. */
static int open_again(const struct ia2_sink *sink) {
    long fd = ia2_syscall4(SYS_openat, AT_FDCWD, (long)sink->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd >= 0) {
        control((int)fd, F_SETFL, O_APPEND);
    }
    return (int)fd;
}

/* Another process than the owner, perhaps with the owner's memory: write, and change nothing. */
static long write_as_guest(const struct ia2_sink *sink, const struct ia2_line *line) {
    if (sink->open && is_target(sink, sink->fd)) {
        return ia2_syscall3(SYS_write, sink->fd, (long)line->text, (long)line->length);
    }
    long result = -EBADF;
    int fd = sink->path[0] ? open_again(sink) : -EBADF;
    if (fd >= 0) {
        if (is_target(sink, fd)) {
            result = ia2_syscall3(SYS_write, fd, (long)line->text, (long)line->length);
        }
        ia2_syscall1(SYS_close, fd);
    }
    return result;
}

/* Does our descriptor still refer to what we opened? If a program closed it, open a file given by path again. */
static bool still_ours(struct ia2_sink *sink) {
    if (sink->open && is_target(sink, sink->fd)) {
        return true;
    }
    sink->open = false;
    int fd = sink->path[0] ? open_again(sink) : -EBADF;
    if (fd < 0) {
        return false;
    }
    if (!is_target(sink, fd)) {
        sink->path[0] = '\0'; /* another file took the name */
    } else {
        adopt(sink, fd);
    }
    ia2_syscall1(SYS_close, fd);
    return sink->open;
}

static long write_as_owner(struct ia2_sink *sink, const struct ia2_line *line) {
    if (!still_ours(sink)) {
        return -EBADF;
    }
    long result;
    do {
        result = ia2_syscall3(SYS_write, sink->fd, (long)line->text, (long)line->length);
    } while (result == -EINTR);
    if (result == -EPIPE) {
        ia2_syscall1(SYS_close, sink->fd);
        sink->open = false;
        sink->path[0] = '\0';
    }
    return result;
}

bool ia2_sink_write(struct ia2_sink *sink, const struct ia2_line *line) {
    /* A reader that went away, or a file-size limit, must not kill the program: hold both signals back during the write,
     * and take away the one that this write raised (it is directed at this thread). */
    uint64_t held = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ);
    uint64_t before = 0;
    uint64_t pending = 0;
    ia2_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&held, (long)&before, sizeof held);
    ia2_syscall2(SYS_rt_sigpending, (long)&pending, sizeof pending);
    long result = sink->owner == ia2_getpid() ? write_as_owner(sink, line) : write_as_guest(sink, line);
    if (result == -EPIPE || result == -EFBIG) {
        uint64_t raised = held & ~pending;
        struct {
            long seconds, nanoseconds;
        } none = {0, 0};
        ia2_syscall4(SYS_rt_sigtimedwait, (long)&raised, 0, (long)&none, sizeof raised);
    }
    ia2_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before);
    return result == (long)line->length;
}
