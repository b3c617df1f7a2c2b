/* System calls that meet closed memory: what the program sees, and what is reported. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dispatch_guest.h"

#define PAGE GUEST_PAGE

static char *page(int number) { return (char *)guest_memory + number * PAGE; }

static void expect_touch(int index, long number, const void *address, bool write) {
    cr_assert_lt(index, guest_touches, "touch %d of %d", index, guest_touches);
    const struct guest_touch *touch = &guest_touched[index];
    cr_expect_eq(touch->number, number, "call %ld", touch->number);
    cr_expect_eq(touch->address, (uintptr_t)address, "at %#lx", touch->address - (uintptr_t)guest_memory);
    cr_expect_eq(touch->write, write);
    cr_expect(touch->known);
}

/* A file of `size` bytes, byte i being i * 7. */
static int numbered_file(size_t size) {
    int file = memfd_create("numbers", 0);
    for (size_t i = 0; i < size; i++) {
        char byte = (char)(i * 7);
        cr_assert_eq(write(file, &byte, 1), 1);
    }
    cr_assert_eq(lseek(file, 0, SEEK_SET), 0);
    return file;
}

static bool is_numbered(const char *bytes, size_t count, size_t from) {
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != (char)((from + i) * 7)) {
            return false;
        }
    }
    return true;
}

/* ---- EFAULT ---- */

Test(dispatch_faults, a_closed_buffer_is_opened_and_the_call_repeated) {
    int file = numbered_file(100);
    guest_begin();
    guest_close(3, 1);
    ssize_t count = read(file, page(3) + 8, 100);
    guest_end();
    cr_expect_eq(count, 100);
    cr_expect(is_numbered(page(3) + 8, 100, 0));
    cr_expect_eq(guest_touches, 1);
    expect_touch(0, SYS_read, page(3) + 8, true);
}

Test(dispatch_faults, what_is_left_closed_is_the_programs_error) {
    int file = numbered_file(100);
    guest_begin();
    guest_answer = IA2_TOUCH_LEAVE;
    guest_close(3, 1);
    ssize_t count = read(file, page(3), 100);
    int error = errno;
    off_t position = lseek(file, 0, SEEK_CUR);
    guest_end();
    cr_expect(count == -1 && error == EFAULT);
    cr_expect_eq(position, 0);
    cr_expect(guest_is_closed(3));
    cr_expect_eq(guest_touches, 1);
}

Test(dispatch_faults, a_page_that_stays_closed_ends_the_repetitions) {
    int file = numbered_file(100);
    guest_begin();
    guest_stuck = true;
    guest_close(3, 1);
    ssize_t count = read(file, page(3), 100);
    int error = errno;
    guest_end();
    cr_expect(count == -1 && error == EFAULT);
    cr_expect_leq(guest_touches, 2);
}

/* RAX is as the call left it when land() is reached: no result is written. */
__asm__(".text\n"
        "escape: mov %rax, %rdi; and $-16, %rsp; call land\n");
extern const char escape[];

__attribute__((used)) static void land(long rax) {
    guest_end();
    _exit(rax == SYS_pread64 && guest_touches == 1 && guest_is_closed(3) ? 7 : 8);
}

Test(dispatch_faults, a_touch_may_send_the_program_elsewhere, .exit_code = 7) {
    int file = numbered_file(100);
    guest_begin();
    guest_escape = (uintptr_t)escape;
    guest_close(3, 1);
    ssize_t count = pread(file, page(3), 100, 0);
    guest_end();
    _exit(count < 0 ? 9 : 10);
}

Test(dispatch_faults, memory_that_is_not_there_is_no_touch) {
    int file = numbered_file(100);
    guest_begin();
    guest_close(0, 1);
    ssize_t count = read(file, guest_memory + GUEST_PAGES * PAGE, 10);
    int error = errno;
    int failed = stat((char *)-1, (struct stat *)page(1));
    int failure = errno;
    guest_end();
    cr_expect(count == -1 && error == EFAULT);
    cr_expect(failed == -1 && failure == EFAULT);
    cr_expect_eq(guest_touches, 0);
}

Test(dispatch_faults, reading_is_told_from_writing) {
    char bytes[] = "bytes";
    int files[2];
    cr_assert_eq(pipe(files), 0);
    guest_begin();
    memcpy(page(1), bytes, sizeof bytes);
    guest_close_for_writing(1, 1);
    ssize_t out = write(files[1], page(1), sizeof bytes);
    int untouched = guest_touches;
    ssize_t in = read(files[0], page(1) + 100, sizeof bytes);
    guest_end();
    cr_expect(out == sizeof bytes && in == sizeof bytes);
    cr_expect_eq(untouched, 0);
    cr_expect_eq(guest_touches, 1);
    expect_touch(0, SYS_read, page(1) + 100, true);
    cr_expect_str_eq(page(1) + 100, bytes);
}

Test(dispatch_faults, names_and_structures) {
    struct utsname *name = (struct utsname *)page(8);
    guest_begin();
    strcpy(page(2), "/proc/self/");
    strcpy(page(3) - 6, "/proc/self/cmdline" + 0);
    guest_close(3, 1);
    int file = open(page(3) - 6, O_RDONLY | O_CLOEXEC);
    guest_close(8, 1);
    int named = uname(name);
    guest_close(2, 1);
    guest_close(9, 1);
    int found = fstatat(AT_FDCWD, page(2), (struct stat *)page(9), 0);
    guest_end();
    cr_expect_geq(file, 0);
    cr_expect(named == 0 && strcmp(name->sysname, "Linux") == 0);
    cr_expect(found == 0 && S_ISDIR(((struct stat *)page(9))->st_mode));
    cr_expect_eq(guest_touches, 4);
    expect_touch(0, SYS_openat, page(3), false);
    expect_touch(1, SYS_uname, page(8), true);
    expect_touch(2, SYS_newfstatat, page(2), false);
    expect_touch(3, SYS_newfstatat, page(9), true);
}

Test(dispatch_faults, a_request_of_unknown_shape_is_guessed) {
    int files[2];
    cr_assert_eq(pipe(files), 0);
    cr_assert_eq(write(files[1], "abc", 3), 3);
    guest_begin();
    guest_close(5, 1);
    int result = ioctl(files[0], FIONREAD, page(5) + 16);
    guest_end();
    cr_expect_eq(result, 0);
    cr_expect_eq(*(int *)(page(5) + 16), 3);
    cr_expect_eq(guest_touches, 1);
    cr_expect_not(guest_touched[0].known);
    cr_expect_eq(guest_touched[0].address, (uintptr_t)page(5) + 16);
}

/* ---- short counts ---- */

Test(dispatch_faults, a_read_goes_on_at_the_page_where_it_stopped) {
    int file = numbered_file(5 * PAGE);
    guest_begin();
    guest_close(2, 1);
    guest_close(4, 1);
    ssize_t count = read(file, page(1) + 100, 4 * PAGE);
    off_t position = lseek(file, 0, SEEK_CUR);
    guest_end();
    cr_expect_eq(count, 4 * PAGE);
    cr_expect_eq(position, 4 * PAGE);
    cr_expect(is_numbered(page(1) + 100, 4 * PAGE, 0));
    cr_expect_eq(guest_touches, 2);
    expect_touch(0, SYS_read, page(2), true);
    expect_touch(1, SYS_read, page(4), true);
}

Test(dispatch_faults, a_read_that_ends_at_a_closed_page_touched_nothing) {
    int file = numbered_file(PAGE - 100);
    int files[2];
    cr_assert_eq(pipe(files), 0);
    cr_assert_eq(write(files[1], "0123456789", 10), 10);
    guest_begin();
    guest_close(2, 1);
    ssize_t count = read(file, page(1) + 100, 2 * PAGE);
    ssize_t piped = read(files[0], page(2) - 10, 100); /* more would have to be waited for */
    ssize_t end = read(file, page(2), 10);
    guest_end();
    cr_expect_eq(count, PAGE - 100);
    cr_expect_eq(piped, 10);
    cr_expect_eq(end, 0);
    cr_expect_eq(guest_touches, 0);
    cr_expect(guest_is_closed(2));
}

Test(dispatch_faults, a_pipe_gives_what_lies_behind_the_border) {
    int files[2];
    cr_assert_eq(pipe(files), 0);
    cr_assert_eq(write(files[1], "0123456789abcdef", 16), 16);
    guest_begin();
    guest_close(2, 1);
    ssize_t count = read(files[0], page(2) - 10, 100);
    guest_end();
    cr_expect_eq(count, 16);
    cr_expect_arr_eq(page(2) - 10, "0123456789abcdef", 16);
    cr_expect_eq(guest_touches, 1);
}

Test(dispatch_faults, pread_goes_on_at_its_offset) {
    int file = numbered_file(4 * PAGE);
    guest_begin();
    guest_close(2, 1);
    ssize_t count = pread(file, page(2) - 10, 100, 1000);
    off_t position = lseek(file, 0, SEEK_CUR);
    guest_end();
    cr_expect_eq(count, 100);
    cr_expect_eq(position, 0);
    cr_expect(is_numbered(page(2) - 10, 100, 1000));
}

Test(dispatch_faults, a_write_leaves_the_same_bytes) {
    int file = memfd_create("written", 0);
    char *seen = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_begin();
    for (int i = 0; i < 3 * PAGE; i++) {
        page(1)[i] = (char)(i * 7);
    }
    guest_close(2, 2);
    ssize_t count = write(file, page(1), 3 * PAGE);
    guest_end();
    cr_expect_eq(count, 3 * PAGE);
    cr_expect_eq(pread(file, seen, 3 * PAGE, 0), 3 * PAGE);
    cr_expect(is_numbered(seen, 3 * PAGE, 0));
    cr_expect_eq(guest_touches, 2);
    expect_touch(0, SYS_write, page(2), false);
    expect_touch(1, SYS_write, page(3), false);
}

/* Entries that end at, begin in and lie across closed pages; the array itself on another. */
Test(dispatch_faults, vectors_go_on_in_the_middle_of_an_entry) {
    int file = numbered_file(4 * PAGE);
    int copy = memfd_create("copy", 0);
    struct iovec entries[] = {{page(1), 100}, {page(2) - 50, 200}, {page(3), 0},
                              {page(4), 300}, {page(6) - 5, 5},    {page(7), 1}};
    char seen[606];
    guest_begin();
    memcpy(page(10), entries, sizeof entries);
    guest_close(2, 1);
    guest_close(4, 1);
    guest_close(7, 1);
    guest_close(10, 1);
    ssize_t in = readv(file, (struct iovec *)page(10), 6);
    int touches = guest_touches;
    guest_close(2, 1);
    guest_close(4, 1);
    guest_close(7, 1);
    ssize_t out = writev(copy, (struct iovec *)page(10), 6);
    guest_end();
    cr_expect_eq(in, 606);
    cr_expect_eq(out, 606);
    cr_expect(is_numbered(page(1), 100, 0) && is_numbered(page(2) - 50, 200, 100) && is_numbered(page(4), 300, 300));
    cr_expect_eq(pread(copy, seen, sizeof seen, 0), (ssize_t)sizeof seen);
    cr_expect(is_numbered(seen, sizeof seen, 0));
    cr_expect_eq(touches, 4);
    expect_touch(0, SYS_readv, page(10), false);
    expect_touch(1, SYS_readv, page(2), true);
    expect_touch(2, SYS_readv, page(4), true);
    expect_touch(3, SYS_readv, page(7), true);
    cr_expect_eq(guest_touches, 7);
}

Test(dispatch_faults, preadv_of_a_partial_entry_keeps_its_offset) {
    int file = numbered_file(4 * PAGE);
    struct iovec entries[] = {{page(2) - 10, 100}, {page(5), 50}};
    guest_begin();
    guest_close(2, 1);
    ssize_t count = preadv(file, entries, 2, 77);
    guest_end();
    cr_expect_eq(count, 150);
    cr_expect(is_numbered(page(2) - 10, 100, 77) && is_numbered(page(5), 50, 177));
}

Test(dispatch_faults, random_bytes_fill_all_pages) {
    static const char zeros[64];
    guest_begin();
    guest_close(2, 3);
    ssize_t count = syscall(SYS_getrandom, page(2) - 64, 2 * PAGE + 128, 0); /* getrandom() may ask the vDSO */
    guest_end();
    cr_expect_eq(count, 2 * PAGE + 128);
    cr_expect_arr_neq(page(4) - 64, zeros, 64);
    cr_expect_arr_neq(page(4), zeros, 64);
    cr_expect_eq(guest_touches, 3);
}

/* ---- what a failed call would have lost ---- */

Test(dispatch_faults, a_datagram_is_not_lost) {
    int sockets[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), 0);
    cr_assert_eq(send(sockets[1], "0123456789abcdef", 16, 0), 16);
    cr_assert_eq(send(sockets[1], "second", 6, 0), 6);
    guest_begin();
    guest_close(2, 1);
    ssize_t first = recv(sockets[0], page(2) - 8, 100, 0);
    guest_close(2, 1);
    struct iovec entry = {page(2), 100};
    struct msghdr message = {.msg_iov = &entry, .msg_iovlen = 1};
    ssize_t second = recvmsg(sockets[0], &message, 0);
    guest_end();
    cr_expect(first == 16 && second == 6);
    cr_expect_arr_eq(page(2), "second", 6);
    cr_expect_eq(guest_touches, 2);
}

Test(dispatch_faults, a_stream_is_read_on) {
    char seen[16];
    int sockets[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    cr_assert_eq(send(sockets[1], "01234567", 8, 0), 8);
    cr_assert_eq(send(sockets[1], "89abcdef", 8, 0), 8);
    guest_begin();
    guest_close(2, 1);
    ssize_t peeked = recv(sockets[0], page(2) - 8, 16, MSG_PEEK);
    memcpy(seen, page(2) - 8, 16);
    guest_close(2, 1);
    ssize_t count = recv(sockets[0], page(2) - 8, 16, 0);
    guest_end();
    cr_expect(peeked == 16 && count == 16);
    cr_expect_arr_eq(seen, "0123456789abcdef", 16);
    cr_expect_arr_eq(page(2) - 8, "0123456789abcdef", 16);
    cr_expect_eq(guest_touches, 2);
}

Test(dispatch_faults, an_event_counter_is_not_lost) {
    int counter = eventfd(5, 0);
    guest_begin();
    guest_close(2, 1);
    ssize_t count = read(counter, page(2), 8);
    guest_end();
    cr_expect_eq(count, 8);
    cr_expect_eq(*(uint64_t *)page(2), 5);
}

Test(dispatch_faults, a_childs_status_is_not_lost) {
    pid_t child = fork();
    if (child == 0) {
        _exit(42);
    }
    guest_begin();
    guest_close(2, 1);
    pid_t reaped = waitpid(child, (int *)page(2), 0);
    guest_end();
    cr_expect_eq(reaped, child);
    cr_expect_eq(WEXITSTATUS(*(int *)page(2)), 42);
    expect_touch(0, SYS_wait4, page(2), true);
}

/* Two writers' lines must not mix. */
Test(dispatch_faults, a_write_to_a_pipe_is_not_split) {
    int files[2];
    cr_assert_eq(pipe2(files, O_DIRECT), 0); /* one packet for each write */
    char seen[200];
    guest_begin();
    memset(page(2) - 50, 'x', 100);
    guest_close(2, 1);
    ssize_t out = write(files[1], page(2) - 50, 100);
    guest_end();
    cr_expect_eq(out, 100);
    cr_expect_eq(read(files[0], seen, sizeof seen), 100);
    cr_expect_eq(guest_touches, 1);
}
