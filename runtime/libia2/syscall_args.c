#include "syscall_args.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "guest.h"
#include "peek.h"
#include "syscall_table.h"

#define CHUNK 256u /* bytes of the program's memory that are looked at together: on the stack of a handler */
#define PAGE 4096u /* no chunk crosses a page: the next one may not be mapped */
#define MAX_TRANSFER 0x7ffff000u /* the kernel transfers no more in one call (include/linux/fs.h, MAX_RW_COUNT) */
#define MAX_STRING 131072u       /* and reads no longer string (include/uapi/linux/binfmts.h, MAX_ARG_STRLEN) */
#define MAX_VECTORS 1024u        /* include/uapi/linux/uio.h, UIO_MAXIOV; messages likewise */
#define MAX_POINTERS 65536u
#define GUESSED 256u /* bytes that a pointer of unknown purpose may lead to */

struct search {
    const struct ia2_call *call;
    struct ia2_closed *closed;
};

/* The functions below return true once a closed byte has been found. */

static bool look(struct search *search, uintptr_t start, uint64_t size, bool write, bool known) {
    uintptr_t first;
    if (start == 0 || size == 0) {
        return false;
    }
    size = size < MAX_TRANSFER ? size : MAX_TRANSFER;
    size = size < UINTPTR_MAX - start ? size : UINTPTR_MAX - start;
    if (!ia2_closed_in(start, size, write || !known, &first)) {
        return false;
    }
    *search->closed = (struct ia2_closed){first, write, known};
    return true;
}

static size_t chunk_at(uintptr_t address, size_t unit) {
    size_t in_page = PAGE - address % PAGE;
    size_t size = in_page < CHUNK ? in_page : CHUNK;
    return size < unit ? unit : size - size % unit; /* an element that crosses a page is read by itself */
}

static bool look_at_string(struct search *search, uintptr_t start) {
    char text[CHUNK];
    for (uintptr_t at = start; at - start < MAX_STRING;) {
        size_t size = chunk_at(at, 1);
        size_t used = 0;
        if (!ia2_peek(text, at, size)) {
            return false;
        }
        while (used < size && text[used]) {
            used++;
        }
        bool ends = used < size;
        if (look(search, at, ends ? used + 1 : size, false, true)) {
            return true;
        }
        if (ends) {
            return false;
        }
        at += size;
    }
    return false;
}

/* `count` pointers, or until NULL where count is 0: to `unit` bytes each, or to strings where unit is 0. */
static bool look_at_pointers(struct search *search, uintptr_t start, uint64_t count, size_t unit) {
    uintptr_t pointers[CHUNK / sizeof(uintptr_t)];
    uint64_t limit = count && count < MAX_POINTERS ? count : MAX_POINTERS;
    for (uint64_t done = 0; start && done < limit;) {
        uintptr_t at = start + done * sizeof *pointers;
        uint64_t size = chunk_at(at, sizeof *pointers) / sizeof *pointers;
        size = size < limit - done ? size : limit - done;
        if (!ia2_peek(pointers, at, size * sizeof *pointers)) {
            return false;
        }
        for (uint64_t i = 0; i < size; i++) {
            if (look(search, at + i * sizeof *pointers, sizeof *pointers, false, true)) {
                return true;
            }
            if (!pointers[i] && !count) {
                return false;
            }
            bool found = unit ? look(search, pointers[i], unit, false, true) : look_at_string(search, pointers[i]);
            if (found) {
                return true;
            }
        }
        done += size;
    }
    return false;
}

static bool look_at_vector(struct search *search, uintptr_t start, uint64_t count, bool write) {
    struct iovec vector[CHUNK / sizeof(struct iovec)];
    if (count > MAX_VECTORS) {
        return false; /* EINVAL */
    }
    if (look(search, start, count * sizeof *vector, false, true)) {
        return true;
    }
    for (uint64_t done = 0; done < count;) {
        uintptr_t at = start + done * sizeof *vector;
        uint64_t size = chunk_at(at, sizeof *vector) / sizeof *vector;
        size = size < count - done ? size : count - done;
        if (!ia2_peek(vector, at, size * sizeof *vector)) {
            return false;
        }
        for (uint64_t i = 0; i < size; i++) {
            if (look(search, (uintptr_t)vector[i].iov_base, vector[i].iov_len, write, true)) {
                return true;
            }
        }
        done += size;
    }
    return false;
}

/* A struct msghdr; a received one is written back. */
static bool look_at_message(struct search *search, uintptr_t start, bool write) {
    struct msghdr message;
    if (look(search, start, sizeof message, write, true)) {
        return true;
    }
    return ia2_peek(&message, start, sizeof message) &&
           (look(search, (uintptr_t)message.msg_name, message.msg_namelen, write, true) ||
            look_at_vector(search, (uintptr_t)message.msg_iov, message.msg_iovlen, write) ||
            look(search, (uintptr_t)message.msg_control, message.msg_controllen, write, true));
}

static bool look_at_messages(struct search *search, uintptr_t start, uint64_t count, bool write) {
    for (uint64_t i = 0; i < count && i < MAX_VECTORS; i++) {
        uintptr_t at = start + i * sizeof(struct mmsghdr);
        if (look_at_message(search, at, write) ||
            look(search, at + offsetof(struct mmsghdr, msg_len), sizeof(unsigned), true, true)) {
            return true;
        }
    }
    return false;
}

/* pselect6 and io_pgetevents: they have no argument left for the mask. */
static bool look_at_mask(struct search *search, uintptr_t start) {
    struct {
        uintptr_t mask;
        size_t size;
    } pair;
    return look(search, start, sizeof pair, false, true) ||
           (start && ia2_peek(&pair, start, sizeof pair) && look(search, pair.mask, pair.size, false, true));
}

/* Many requests say in their number what their argument points to (include/uapi/asm-generic/ioctl.h). */
static bool look_at_ioctl(struct search *search, uintptr_t start) {
    unsigned long request = (unsigned long)search->call->arguments[1];
    if (_IOC_SIZE(request) && _IOC_DIR(request) != _IOC_NONE) {
        return look(search, start, _IOC_SIZE(request), _IOC_DIR(request) & _IOC_READ, true);
    }
    return look(search, start, GUESSED, false, false);
}

static uint64_t argument(const struct ia2_call *call, uint8_t of) {
    long value = call->arguments[of & (IA2_OF_INT - 1)];
    if (of & IA2_OF_INT) {
        return (int)value < 0 ? 0 : (uint64_t)(int)value;
    }
    return (uint64_t)value;
}

static bool look_at(struct search *search, const struct ia2_shape *shape, uintptr_t start) {
    uint64_t of = argument(search->call, shape->of);
    uint32_t size;
    switch ((enum ia2_points_to)shape->points_to) {
    case IA2_NOTHING:
        return false;
    case IA2_FIXED:
        return look(search, start, shape->unit, shape->writes, true);
    case IA2_SIZED:
        return look(search, start, (of < MAX_TRANSFER ? of : MAX_TRANSFER) + shape->unit, shape->writes, true);
    case IA2_COUNTED:
        return of < MAX_TRANSFER && look(search, start, of * shape->unit, shape->writes, true);
    case IA2_SIZED_AT:
        return ia2_peek(&size, of, sizeof size) && look(search, start, size, shape->writes, true);
    case IA2_BITS:
        return of < MAX_TRANSFER && look(search, start, (of + 63) / 64 * 8, shape->writes, true);
    case IA2_STRING:
        return start && look_at_string(search, start);
    case IA2_STRINGS:
        return look_at_pointers(search, start, 0, 0);
    case IA2_POINTERS:
        return of && look_at_pointers(search, start, of, shape->unit);
    case IA2_VECTOR:
        return start && look_at_vector(search, start, of, shape->writes);
    case IA2_MESSAGE:
        return start && look_at_message(search, start, shape->writes);
    case IA2_MESSAGES:
        return start && look_at_messages(search, start, of, shape->writes);
    case IA2_MASK:
        return look_at_mask(search, start);
    case IA2_UNKNOWN:
        return look(search, start, GUESSED, false, false);
    case IA2_IOCTL:
        return look_at_ioctl(search, start);
    }
    return false;
}

/* ---- calls whose arguments mean something else from case to case ----------------------------------------------------------------- */

static bool look_at_clone(struct search *search) {
    const long *arguments = search->call->arguments;
    unsigned long flags = (unsigned long)arguments[0];
    if (flags & (CLONE_PARENT_SETTID | CLONE_PIDFD) && look(search, (uintptr_t)arguments[2], 4, true, true)) {
        return true;
    }
    return flags & CLONE_CHILD_SETTID && look(search, (uintptr_t)arguments[3], 4, true, true);
}

static bool look_at_clone3(struct search *search) {
    const long *arguments = search->call->arguments;
    struct clone_args wanted = {0};
    size_t size = (size_t)arguments[1] < sizeof wanted ? (size_t)arguments[1] : sizeof wanted;
    if (look(search, (uintptr_t)arguments[0], (size_t)arguments[1], false, true)) {
        return true;
    }
    if (!ia2_peek(&wanted, (uintptr_t)arguments[0], size)) {
        return false;
    }
    return (wanted.flags & CLONE_PIDFD && look(search, wanted.pidfd, 4, true, true)) ||
           (wanted.flags & CLONE_PARENT_SETTID && look(search, wanted.parent_tid, 4, true, true)) ||
           (wanted.flags & CLONE_CHILD_SETTID && look(search, wanted.child_tid, 4, true, true));
}

static bool look_at_futex(struct search *search) {
    const long *arguments = search->call->arguments;
    int operation = (int)arguments[1] & FUTEX_CMD_MASK;
    bool waits = operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET || operation == FUTEX_LOCK_PI ||
                 operation == FUTEX_LOCK_PI2 || operation == FUTEX_WAIT_REQUEUE_PI;
    bool second = operation == FUTEX_REQUEUE || operation == FUTEX_CMP_REQUEUE || operation == FUTEX_WAKE_OP ||
                  operation == FUTEX_WAIT_REQUEUE_PI || operation == FUTEX_CMP_REQUEUE_PI;
    bool writes = operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2 || operation == FUTEX_TRYLOCK_PI ||
                  operation == FUTEX_UNLOCK_PI;
    return look(search, (uintptr_t)arguments[0], 4, writes, true) ||
           (waits && look(search, (uintptr_t)arguments[3], 16, false, true)) ||
           (second && look(search, (uintptr_t)arguments[4], 4, operation == FUTEX_WAKE_OP, true));
}

bool ia2_call_closed(const struct ia2_call *call, struct ia2_closed *closed) {
    struct search search = {call, closed};
    switch (call->number) {
    case SYS_clone:
        return look_at_clone(&search);
    case SYS_clone3:
        return look_at_clone3(&search);
    case SYS_futex:
        return look_at_futex(&search);
    default:
        break;
    }
    const struct ia2_shape *shapes = ia2_syscall_shapes(call->number);
    for (int i = 0; i < 6; i++) {
        if (shapes[i].points_to != IA2_NOTHING && look_at(&search, &shapes[i], (uintptr_t)call->arguments[i])) {
            return true;
        }
    }
    return false;
}
