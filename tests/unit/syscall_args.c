/* Which memory a system call hands to the kernel: the table, and the walk over what it leads to. */
#include "syscall_args.h"

#include <criterion/criterion.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "guest.h"
#include "syscall_table.h"

#define PAGE 4096

static char *memory;      /* three pages: open, closed, open */
static char *closed;      /* the second */
static size_t from;       /* its first closed byte */
static bool only_writing; /* it is closed for writing only */

__attribute__((constructor)) static void map(void) {
    memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    closed = memory + PAGE;
}

bool ia2_closed_in(uintptr_t address, size_t size, bool write, uintptr_t *first) {
    uintptr_t start = (uintptr_t)closed + from;
    if ((only_writing && !write) || address >= (uintptr_t)closed + PAGE ||
        (address < start && start - address >= size)) {
        return false;
    }
    *first = address > start ? address : start;
    return true;
}

#define CALL(number_, ...) (&(struct ia2_call){.number = (number_), .arguments = {__VA_ARGS__}})

static struct ia2_closed found;

static bool touches(const struct ia2_call *call) {
    found = (struct ia2_closed){0, false, false};
    return ia2_call_closed(call, &found);
}

static void expect_touch(const struct ia2_call *call, const void *address, bool write) {
    cr_expect(touches(call), "call %ld", call->number);
    cr_expect_eq(found.address, (uintptr_t)address, "call %ld: %+ld", call->number, (long)found.address - (long)closed);
    cr_expect_eq(found.write, write, "call %ld", call->number);
    cr_expect(found.known, "call %ld", call->number);
}

/* ---- the table ---- */

static const struct ia2_shape *shape(long number, int argument) { return &ia2_syscall_shapes(number)[argument]; }

Test(syscall_args, sizes_are_taken_from_numbers_not_from_pointers) {
    for (long number = 0; number < 451; number++) {
        for (int i = 0; i < 6; i++) {
            const struct ia2_shape *it = shape(number, i);
            int of = it->of & (IA2_OF_INT - 1);
            cr_assert_lt(of, 6, "call %ld argument %d", number, i);
            switch (it->points_to) {
            case IA2_SIZED:
            case IA2_COUNTED:
            case IA2_BITS:
            case IA2_POINTERS:
            case IA2_VECTOR:
            case IA2_MESSAGES:
                cr_expect_neq(of, i, "call %ld argument %d", number, i);
                cr_expect_eq(shape(number, of)->points_to, IA2_NOTHING, "call %ld argument %d", number, i);
                break;
            case IA2_SIZED_AT:
                cr_expect(shape(number, of)->points_to == IA2_FIXED && shape(number, of)->unit == 4, "call %ld",
                          number);
                break;
            case IA2_FIXED:
                cr_expect_gt(it->unit, 0, "call %ld argument %d", number, i);
                break;
            default:
                break;
            }
            if (it->points_to != IA2_NOTHING && it->points_to != IA2_UNKNOWN && it->points_to != IA2_IOCTL) {
                cr_expect(it->reads || it->writes, "call %ld argument %d", number, i);
            }
        }
    }
}

/* Each pointer in turn leads to the closed page, all others to nothing; each size says 1. */
Test(syscall_args, every_pointer_of_every_call_is_looked_at) {
    static uint64_t size = 1;
    int pointers = 0;
    for (long number = 0; number < 451; number++) {
        for (int i = 0; i < 6; i++) {
            const struct ia2_shape *it = shape(number, i);
            struct ia2_call call = {number, {0}};
            if (it->points_to == IA2_NOTHING) {
                continue;
            }
            call.arguments[it->of & (IA2_OF_INT - 1)] = it->points_to == IA2_SIZED_AT ? (long)&size : 1;
            call.arguments[i] = (long)closed;
            cr_expect(touches(&call), "call %ld argument %d", number, i);
            cr_expect_eq(found.address, (uintptr_t)closed, "call %ld argument %d", number, i);
            call.arguments[i] = (long)memory;
            cr_expect_not(touches(&call), "call %ld argument %d", number, i);
            pointers++;
        }
    }
    cr_expect_gt(pointers, 300);
}

Test(syscall_args, numbers_are_not_taken_for_pointers) {
    cr_expect_not(touches(CALL(SYS_close, (long)closed)));
    cr_expect_not(touches(CALL(SYS_mmap, (long)closed, PAGE, 0, 0, -1, 0)));
    cr_expect_not(touches(CALL(SYS_munmap, (long)closed, PAGE)));
    cr_expect_not(touches(CALL(SYS_mprotect, (long)closed, PAGE, 0)));
    cr_expect_not(touches(CALL(SYS_read, (long)closed, (long)memory, 10)));
    cr_expect_not(touches(CALL(-1L, (long)closed)));
}

Test(syscall_args, of_a_call_that_is_too_new_everything_is_a_guess) {
    cr_expect(touches(CALL(9999, 1, 2, (long)closed + 8)));
    cr_expect_eq(found.address, (uintptr_t)closed + 8);
    cr_expect_not(found.known);
}

/* ---- extents ---- */

Test(syscall_args, a_buffer_reaches_as_far_as_its_size) {
    cr_expect_not(touches(CALL(SYS_read, 0, (long)closed - 10, 10)));
    expect_touch(CALL(SYS_read, 0, (long)closed - 10, 11), closed, true);
    expect_touch(CALL(SYS_write, 0, (long)closed + PAGE - 1, 1), closed + PAGE - 1, false);
    cr_expect_not(touches(CALL(SYS_write, 0, (long)closed + PAGE, 1)));
    cr_expect_not(touches(CALL(SYS_read, 0, (long)closed, 0)));
    expect_touch(CALL(SYS_read, 0, (long)memory, -1), closed, true);
    cr_expect_not(touches(CALL(SYS_read, 0, -1, -1)));
}

Test(syscall_args, an_int_has_no_upper_half) {
    const long garbage = (long)0xdead00000000;
    cr_expect_not(touches(CALL(SYS_connect, 0, (long)closed - 16, garbage | 16)));
    expect_touch(CALL(SYS_connect, 0, (long)closed - 16, garbage | 17), closed, false);
    cr_expect_not(touches(CALL(SYS_getgroups, garbage | 0xffffffff, (long)closed)), "a negative count");
    cr_expect_not(touches(CALL(SYS_poll, (long)closed - 2 * (long)sizeof(struct pollfd), garbage | 2)));
}

Test(syscall_args, rights_to_read_are_enough_for_what_is_read) {
    only_writing = true;
    cr_expect_not(touches(CALL(SYS_write, 0, (long)closed, 10)));
    expect_touch(CALL(SYS_read, 0, (long)closed, 10), closed, true);
    expect_touch(CALL(SYS_poll, (long)closed, 1), closed, true);
    cr_expect(touches(CALL(SYS_ioctl, 0, FIONREAD, (long)closed)), "the direction is a guess");
}

Test(syscall_args, a_string_ends_at_its_nul) {
    strcpy(closed - 5, "abcd");
    cr_expect_not(touches(CALL(SYS_open, (long)closed - 5)));
    closed[-1] = 'e';
    expect_touch(CALL(SYS_open, (long)closed - 5), closed, false);
    memset(memory, 'x', 2 * PAGE);
    expect_touch(CALL(SYS_open, (long)memory), closed, false);
    cr_expect_not(touches(CALL(SYS_open, 8)));
    from = 100;
    strcpy(closed + 90, "ninety");
    cr_expect_not(touches(CALL(SYS_open, (long)closed + 90)));
    strcpy(closed + 90, "ninety and more");
    expect_touch(CALL(SYS_open, (long)closed + 90), closed + 100, false);
    cr_expect_not(touches(CALL(SYS_open, (long)memory + 3 * PAGE)));
}

Test(syscall_args, arrays_of_strings) {
    char **list = (char **)memory;
    list[0] = memory + 1000;
    list[1] = closed + 7;
    list[2] = NULL;
    expect_touch(CALL(SYS_execve, 0, (long)list), closed + 7, false);
    list[1] = NULL;
    cr_expect_not(touches(CALL(SYS_execve, 0, (long)list)));
    list = (char **)closed - 1;
    list[0] = memory + 1000;
    expect_touch(CALL(SYS_execve, 0, 0, (long)list), closed, false);
    list[0] = NULL;
    cr_expect_not(touches(CALL(SYS_execve, 0, 0, (long)list)));
}

Test(syscall_args, vectors) {
    struct iovec entries[] = {{memory, 10}, {memory + 2 * PAGE, PAGE}, {closed - 4, 4}, {closed - 4, 5}};
    cr_expect_not(touches(CALL(SYS_readv, 0, (long)entries, 3)));
    expect_touch(CALL(SYS_readv, 0, (long)entries, 4), closed, true);
    expect_touch(CALL(SYS_writev, 0, (long)entries, 4), closed, false);
    expect_touch(CALL(SYS_writev, 0, (long)closed - 16, 2), closed, false);
    cr_expect_not(touches(CALL(SYS_writev, 0, (long)closed, 5000)), "too many: EINVAL");
}

Test(syscall_args, messages) {
    struct iovec entry = {memory, 10};
    struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &entry, .msg_iovlen = 1}}};
    struct msghdr *message = &messages[1].msg_hdr;
    const struct ia2_call *receive = CALL(SYS_recvmsg, 0, (long)message);
    const struct ia2_call *send = CALL(SYS_sendmmsg, 0, (long)messages, 2);
    message->msg_iov = &entry;
    message->msg_iovlen = 1;
    cr_expect_not(touches(receive));
    cr_expect_not(touches(send));
    message->msg_control = closed + 100;
    message->msg_controllen = 10;
    expect_touch(receive, closed + 100, true);
    expect_touch(send, closed + 100, false);
    message->msg_name = closed + 50;
    message->msg_namelen = 4;
    expect_touch(receive, closed + 50, true);
    message->msg_name = NULL;
    message->msg_control = NULL;
    entry.iov_base = closed + 8;
    expect_touch(receive, closed + 8, true);
    expect_touch(send, closed + 8, false);
    expect_touch(CALL(SYS_sendmsg, 0, (long)closed - 8), closed, false);
}

Test(syscall_args, a_size_that_lies_in_memory) {
    socklen_t size = 20;
    cr_expect_not(touches(CALL(SYS_getsockname, 0, (long)closed - 20, (long)&size)));
    size = 21;
    expect_touch(CALL(SYS_getsockname, 0, (long)closed - 20, (long)&size), closed, true);
    expect_touch(CALL(SYS_getsockname, 0, 0, (long)closed), closed, true);
}

Test(syscall_args, masks_that_are_packed) {
    struct {
        const void *mask;
        size_t size;
    } pair = {closed - 4, 8};
    expect_touch(CALL(SYS_pselect6, 0, 0, 0, 0, 0, (long)&pair), closed, false);
    pair.mask = NULL;
    cr_expect_not(touches(CALL(SYS_pselect6, 0, 0, 0, 0, 0, (long)&pair)));
}

Test(syscall_args, requests_say_what_they_point_to) {
    expect_touch(CALL(SYS_ioctl, 0, _IOR('x', 1, char[100]), (long)closed - 99), closed, true);
    cr_expect_not(touches(CALL(SYS_ioctl, 0, _IOR('x', 1, char[100]), (long)closed - 100)));
    expect_touch(CALL(SYS_ioctl, 0, _IOW('x', 1, int), (long)closed), closed, false);
    cr_expect(touches(CALL(SYS_ioctl, 0, FIONREAD, (long)closed)));
    cr_expect_not(found.known);
}

Test(syscall_args, flags_say_what_clone_writes) {
    cr_expect_not(touches(CALL(SYS_clone, SIGCHLD, (long)closed, (long)closed, (long)closed, (long)closed)));
    expect_touch(CALL(SYS_clone, CLONE_PARENT_SETTID, 0, (long)closed, 0, 0), closed, true);
    expect_touch(CALL(SYS_clone, CLONE_CHILD_SETTID, 0, 0, (long)closed, 0), closed, true);
    struct clone_args wanted = {.flags = 0, .pidfd = (uintptr_t)closed};
    cr_expect_not(touches(CALL(SYS_clone3, (long)&wanted, sizeof wanted)));
    wanted.flags = CLONE_PIDFD;
    expect_touch(CALL(SYS_clone3, (long)&wanted, sizeof wanted), closed, true);
    expect_touch(CALL(SYS_clone3, (long)closed - 8, 64), closed, false);
    cr_expect_not(touches(CALL(SYS_clone3, 8, sizeof wanted)));
}

Test(syscall_args, the_operation_says_what_a_futex_reads) {
    long word = (long)memory;
    expect_touch(CALL(SYS_futex, (long)closed, FUTEX_WAKE, 1), closed, false);
    expect_touch(CALL(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, (long)closed), closed, false);
    cr_expect_not(touches(CALL(SYS_futex, word, FUTEX_WAKE, 1, (long)closed, (long)closed)));
    expect_touch(CALL(SYS_futex, word, FUTEX_WAKE_OP, 1, 1, (long)closed), closed, true);
}

/* ---- any arguments at all ---- */

Test(syscall_args, arguments_that_make_no_sense, .timeout = 50) {
    const long interesting[] = {0,
                                1,
                                8,
                                -1,
                                16,
                                1L << 31,
                                1L << 47,
                                -(1L << 47),
                                1L << 62,
                                (long)0x8000000000000000,
                                (long)memory,
                                (long)closed - 1,
                                (long)closed - 8,
                                (long)closed,
                                (long)closed + PAGE - 1,
                                (long)closed + PAGE,
                                (long)memory + 3 * PAGE - 1};
    uint32_t random = 20240229;
    memset(memory, 0x41, 3 * PAGE);
    for (int i = 0; i < 60000; i++) {
        struct ia2_call call = {i % 460, {0}};
        for (int j = 0; j < 6; j++) {
            random = random * 1664525u + 1013904223u;
            call.arguments[j] = interesting[(random >> 16) % (sizeof interesting / sizeof *interesting)];
        }
        if (touches(&call)) {
            cr_assert(found.address >= (uintptr_t)closed && found.address < (uintptr_t)closed + PAGE, "call %d", i);
        }
    }
}
