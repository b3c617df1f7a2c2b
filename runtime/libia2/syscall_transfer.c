#include "syscall_transfer.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "peek.h"
#include "system.h"

#define MAX_VECTORS 1024u /* include/uapi/linux/uio.h, UIO_MAXIOV */

/* Numbers of arguments; -1: it has none. */
static const struct transfer {
    short number;
    bool vector; /* `buffer` is an array of iovec, `size` the count of them */
    bool fills;  /* it writes to memory */
    int8_t file, buffer, size, offset;
} transfers[] = {
    {SYS_read, false, true, 0, 1, 2, -1},       {SYS_write, false, false, 0, 1, 2, -1},
    {SYS_pread64, false, true, 0, 1, 2, 3},     {SYS_pwrite64, false, false, 0, 1, 2, 3},
    {SYS_readv, true, true, 0, 1, 2, -1},       {SYS_writev, true, false, 0, 1, 2, -1},
    {SYS_preadv, true, true, 0, 1, 2, 3},       {SYS_pwritev, true, false, 0, 1, 2, 3},
    {SYS_preadv2, true, true, 0, 1, 2, 3},      {SYS_pwritev2, true, false, 0, 1, 2, 3},
    {SYS_recvfrom, false, true, 0, 1, 2, -1},   {SYS_sendto, false, false, 0, 1, 2, -1},
    {SYS_getrandom, false, true, -1, 0, 1, -1},
};

static const struct transfer *find(long number) {
    for (size_t i = 0; i < sizeof transfers / sizeof *transfers; i++) {
        if (transfers[i].number == number) {
            return &transfers[i];
        }
    }
    return NULL;
}

bool ia2_is_transfer(const struct ia2_call *call) { return find(call->number) != NULL; }

/* Byte number `skip` of the buffers: it becomes the beginning of `rest`. */
static bool vector_rest(const struct transfer *transfer, uint64_t skip, struct ia2_rest *rest) {
    uintptr_t vector = (uintptr_t)rest->call.arguments[transfer->buffer];
    uint64_t count = (uint64_t)rest->call.arguments[transfer->size];
    for (uint64_t i = 0; i < count && i < MAX_VECTORS; i++) {
        struct iovec entry;
        if (!ia2_peek(&entry, vector + i * sizeof entry, sizeof entry)) {
            return false;
        }
        if (skip >= entry.iov_len) {
            skip -= entry.iov_len;
            continue;
        }
        rest->next = (uintptr_t)entry.iov_base + skip;
        if (skip) {
            rest->entry = (struct iovec){(void *)rest->next, entry.iov_len - skip};
            rest->piece = rest->entry.iov_len;
            rest->call.arguments[transfer->buffer] = (long)&rest->entry;
            rest->call.arguments[transfer->size] = 1;
        } else {
            rest->call.arguments[transfer->buffer] = (long)(vector + i * sizeof entry);
            rest->call.arguments[transfer->size] = (long)(count - i);
        }
        return true;
    }
    return false;
}

bool ia2_transfer_rest(const struct ia2_call *call, uint64_t done, struct ia2_rest *rest) {
    const struct transfer *transfer = find(call->number);
    rest->call = *call;
    rest->fills = transfer->fills;
    rest->piece = 0;
    long *arguments = rest->call.arguments;
    if (transfer->vector) {
        if (!vector_rest(transfer, done, rest)) {
            return false;
        }
    } else {
        if (done >= (uint64_t)arguments[transfer->size]) {
            return false;
        }
        arguments[transfer->buffer] += (long)done;
        arguments[transfer->size] -= (long)done;
        rest->next = (uintptr_t)arguments[transfer->buffer];
    }
    if (transfer->offset >= 0 && arguments[transfer->offset] != -1) { /* -1: preadv2 at the file's own position */
        arguments[transfer->offset] += (long)done;
    }
    return true;
}

bool ia2_transfer_ready(const struct ia2_call *call) {
    const struct transfer *transfer = find(call->number);
    if (!transfer->fills || transfer->file < 0) {
        return true;
    }
    struct pollfd file = {(int)call->arguments[transfer->file], POLLIN, 0};
    return ia2_syscall3(SYS_poll, (long)&file, 1, 0) > 0;
}

enum ia2_loss ia2_call_loses(long number) {
    switch (number) {
    case SYS_wait4:
    case SYS_waitid:
    case SYS_clone:
    case SYS_clone3:
    case SYS_accept:
    case SYS_accept4:
    case SYS_sendmsg:
    case SYS_recvmsg:
    case SYS_sendmmsg:
    case SYS_recvmmsg:
    case SYS_getsockopt: /* SO_ERROR clears what it reads */
    case SYS_msgrcv:
    case SYS_mq_timedreceive:
    case SYS_mq_getsetattr:
    case SYS_rt_sigtimedwait:
    case SYS_nanosleep: /* what is left is written when a signal came, and the sleep is over */
    case SYS_clock_nanosleep:
    case SYS_setitimer:
    case SYS_timer_settime:
    case SYS_timerfd_settime:
    case SYS_prlimit64:
    case SYS_sendfile:
    case SYS_splice:
    case SYS_copy_file_range:
        return IA2_LOSES;
    default:
        return find(number) ? IA2_LOSES_BY_FILE : IA2_LOSES_NOTHING;
    }
}

static bool is_stream(int file) {
    int type = 0;
    int size = sizeof type;
    return ia2_syscall(SYS_getsockopt, file, SOL_SOCKET, SO_TYPE, (long)&type, (long)&size, 0) == 0 &&
           type == SOCK_STREAM;
}

/* recv() with a flag that does more than to wait or not to wait, or with room for an address, takes the bytes before it fails. */
static bool receives_more(const struct ia2_call *call) {
    const int plain = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC;
    return call->number == SYS_recvfrom &&
           ((int)call->arguments[3] & ~plain || call->arguments[4] || call->arguments[5]);
}

/* Files, folders, pipes and stream sockets keep what could not be copied (mm/filemap.c, fs/pipe.c, net/ipv4/tcp.c, net/unix/af_unix.c).
 * Terminals, datagrams and the counters behind eventfd, timerfd and signalfd are gone once they have been read. What is written is
 * copied before it is used, and of up to PIPE_BUF bytes for a pipe all or nothing. */
bool ia2_file_loses(const struct ia2_call *call) {
    const struct transfer *transfer = find(call->number);
    struct stat file;
    if (!transfer->fills || transfer->file < 0 ||
        ia2_syscall2(SYS_fstat, call->arguments[transfer->file], (long)&file) < 0) {
        return false;
    }
    if (S_ISSOCK(file.st_mode)) {
        return receives_more(call) || !is_stream((int)call->arguments[transfer->file]);
    }
    return !S_ISREG(file.st_mode) && !S_ISDIR(file.st_mode) && !S_ISBLK(file.st_mode) && !S_ISFIFO(file.st_mode);
}
