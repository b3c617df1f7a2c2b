/* Where event lines go: a descriptor of our own, and never a file that is not ours. Each test is a process of its own. */
#include "sink.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(sink, .timeout = 20);

static struct ia2_sink sink;
static char folder[] = "/tmp/ia2-sink-XXXXXX";
static char path[64]; /* of a file that does not exist yet */

static void make_folder(void) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace", folder);
}

static void remove_folder(void) {
    char other[80];
    snprintf(other, sizeof other, "%s.old", path);
    unlink(path);
    unlink(other);
    rmdir(folder);
}

#define FILE_TEST(name) Test(sink, name, .init = make_folder, .fini = remove_folder)

static bool write_text(const char *text) {
    static struct ia2_line line;
    line.length = strlen(text);
    memcpy(line.text, text, line.length);
    return ia2_sink_write(&sink, &line);
}

/* Number of bytes; the text itself in `text`. */
static size_t read_file(const char *name, char *text, size_t size) {
    int fd = open(name, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);
    close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return strlen(text);
}

static void check_file(const char *name, const char *expected) {
    char text[4096];
    read_file(name, text, sizeof text);
    cr_expect_str_eq(text, expected, "%s: \"%s\", expected \"%s\"", name, text, expected);
}

static void open_descriptor(int fd) {
    char target[16];
    snprintf(target, sizeof target, "fd:%d", fd);
    cr_assert_eq(ia2_sink_open(&sink, target), 0);
}

/* ---- opening ---- */

Test(sink, nothing_is_closed) {
    cr_expect_eq(ia2_sink_open(&sink, ""), 0);
    cr_expect_not(sink.open);
    cr_expect_not(write_text("x\n"));
}

FILE_TEST(a_path_is_created_and_appended_to) {
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("one\n"));
    struct ia2_sink second = sink;
    memset(&sink, 0, sizeof sink);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("two\n"));
    sink = second;
    cr_expect(write_text("three\n"));
    check_file(path, "one\ntwo\nthree\n");
}

FILE_TEST(a_relative_path_is_remembered_as_absolute) {
    cr_assert_eq(chdir(folder), 0);
    cr_assert_eq(ia2_sink_open(&sink, "trace"), 0);
    cr_expect_str_eq(sink.path, path);
    cr_assert_eq(chdir("/"), 0);
    close(sink.fd);
    cr_expect(write_text("after chdir\n"));
    check_file(path, "after chdir\n");
}

FILE_TEST(a_descriptor_by_number) {
    int ends[2];
    char text[8] = "";
    cr_assert_eq(pipe(ends), 0);
    open_descriptor(ends[1]);
    close(ends[1]);
    cr_expect(write_text("line\n"), "the program may close its own descriptor");
    cr_expect_eq(read(ends[0], text, sizeof text), 5);
    cr_expect_str_eq(text, "line\n");
}

FILE_TEST(one_means_standard_error) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    dup2(fd, 2);
    cr_assert_eq(ia2_sink_open(&sink, "1"), 0);
    cr_expect(write_text("line\n"));
    check_file(path, "line\n");
}

Test(sink, what_cannot_be_opened_is_refused) {
    static const struct {
        const char *target;
        int error;
    } cases[] = {
        {"/nonexistent/folder/trace", -ENOENT},
        {"/", -EISDIR},
        {"fd:", -EBADF},
        {"fd:x", -EBADF},
        {"fd:1x", -EBADF},
        {"fd:-1", -EBADF},
        {"fd: 1", -EBADF},
        {"fd:999", -EBADF},
        {"fd:99999999999999999999", -EBADF},
        {"fd:4294967297", -EBADF}, /* 2^32 + 1 is not 1 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&sink, 0, sizeof sink);
        cr_expect_eq(ia2_sink_open(&sink, cases[i].target), cases[i].error, "%s", cases[i].target);
        cr_expect_not(sink.open, "%s", cases[i].target);
    }
}

FILE_TEST(the_duplicate_is_high_and_closed_on_exec) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int before = dup(0);
    close(before);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect_gt(sink.fd, 200);
    cr_expect_geq(sink.fd, (int)(limit.rlim_cur > 65536 ? 65536 : limit.rlim_cur) - 32);
    cr_expect(fcntl(sink.fd, F_GETFD) & FD_CLOEXEC);
    int after = dup(0);
    cr_expect_eq(after, before, "the low numbers are the program's");
}

FILE_TEST(few_descriptors_are_no_obstacle) {
    int next = dup(0);
    close(next);
    struct rlimit limit = {(rlim_t)next + 2, (rlim_t)next + 2};
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("line\n"));
    check_file(path, "line\n");
}

/* ---- a program that closes everything ---- */

FILE_TEST(nothing_is_written_to_another_file_on_our_number) {
    int ends[2];
    char other[80];
    snprintf(other, sizeof other, "%s.old", path);
    cr_assert_eq(pipe(ends), 0);
    open_descriptor(ends[1]);
    close_range(64, ~0u, 0); /* those below are Criterion's */
    int database = open(other, O_RDWR | O_CREAT, 0600);
    cr_assert_eq(dup2(database, sink.fd), sink.fd);
    cr_expect_not(write_text("line\n"));
    cr_expect_not(write_text("line\n"));
    check_file(other, "");
    cr_expect_neq(fcntl(database, F_GETFD), -1);
}

FILE_TEST(a_path_is_opened_again_after_close_range) {
    char other[80];
    snprintf(other, sizeof other, "%s.old", path);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("one\n"));
    int old = sink.fd;
    close_range(64, ~0u, 0); /* those below are Criterion's */
    int database = open(other, O_RDWR | O_CREAT, 0600);
    dup2(database, old);
    cr_expect(write_text("two\n"));
    cr_expect(write_text("three\n"));
    check_file(path, "one\ntwo\nthree\n");
    check_file(other, "");
    cr_expect_neq(fcntl(old, F_GETFD), -1, "the program's descriptor stays open");
    cr_expect(fcntl(sink.fd, F_GETFD) & FD_CLOEXEC);
}

/* A rotated or replaced file is not the one that was opened: better no lines than lines in the wrong place. */
FILE_TEST(another_file_under_the_same_name_is_left_alone) {
    char other[80];
    snprintf(other, sizeof other, "%s.old", path);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_assert_eq(rename(path, other), 0);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    cr_expect(write_text("one\n"), "our descriptor still leads to the old file");
    close(sink.fd);
    cr_expect_not(write_text("two\n"));
    int before = dup(0);
    cr_expect_not(write_text("three\n"));
    int after = dup(0);
    cr_expect_eq(after, before + 1, "no descriptor is left over");
    check_file(other, "one\n");
    check_file(path, "");
}

FILE_TEST(a_removed_file_is_not_made_again) {
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_assert_eq(unlink(path), 0);
    close(sink.fd);
    cr_expect_not(write_text("line\n"));
    cr_expect_eq(access(path, F_OK), -1);
}

/* Opening a FIFO for writing waits for a reader: a program must not hang at its exit for want of one. */
FILE_TEST(a_fifo_without_reader_is_not_waited_for) {
    cr_assert_eq(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("line\n"));
    close(sink.fd);
    close(reader);
    alarm(5); /* ends the test by a signal should it hang */
    cr_expect_not(write_text("line\n"));
}

FILE_TEST(a_fifo_with_a_reader_is_opened_again) {
    char text[32] = "";
    cr_assert_eq(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    close(sink.fd);
    cr_expect(write_text("line\n"));
    cr_expect_eq(read(reader, text, sizeof text), 5);
    cr_expect_not(fcntl(sink.fd, F_GETFL) & O_NONBLOCK, "a full pipe is waited for, as before");
}

/* ---- signals ---- */

static void check_signals(const sigset_t *mask_before, const sigset_t *pending_before) {
    sigset_t mask;
    sigset_t pending;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    for (int number = 1; number < NSIG; number++) {
        cr_expect_eq(sigismember(&mask, number), sigismember(mask_before, number), "mask of signal %d", number);
        cr_expect_eq(sigismember(&pending, number), sigismember(pending_before, number), "signal %d pends", number);
    }
}

static void write_to_broken_pipe(void) {
    sigset_t mask;
    sigset_t pending;
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    open_descriptor(ends[1]);
    close(ends[0]);
    close(ends[1]);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    errno = 4711;
    cr_expect_not(write_text("line\n"), "a line that nobody reads is lost");
    cr_expect_not(write_text("line\n"));
    cr_expect_eq(errno, 4711);
    check_signals(&mask, &pending);
}

Test(sink, a_broken_pipe_does_not_kill) { write_to_broken_pipe(); }

Test(sink, a_broken_pipe_with_sigpipe_ignored) {
    signal(SIGPIPE, SIG_IGN);
    write_to_broken_pipe();
}

static volatile sig_atomic_t delivered;
static void count_signal(int number) {
    (void)number;
    delivered++;
}

Test(sink, a_broken_pipe_does_not_run_the_programs_handler) {
    signal(SIGPIPE, count_signal);
    write_to_broken_pipe();
    cr_expect_eq(delivered, 0);
}

Test(sink, a_sigpipe_that_was_pending_stays_pending) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, count_signal);
    raise(SIGPIPE);
    write_to_broken_pipe();
    cr_expect_eq(delivered, 0);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    cr_expect_eq(delivered, 1, "the program's own SIGPIPE came %d times", (int)delivered);
}

FILE_TEST(a_file_size_limit_does_not_kill) {
    sigset_t mask;
    sigset_t pending;
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    cr_expect(write_text("12345678\n"));
    struct rlimit limit = {9, 9};
    setrlimit(RLIMIT_FSIZE, &limit);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    cr_expect_not(write_text("line\n"));
    check_signals(&mask, &pending);
    check_file(path, "12345678\n");
}

FILE_TEST(the_mask_is_as_before_a_successful_write) {
    sigset_t mask;
    sigset_t pending;
    sigfillset(&mask);
    sigdelset(&mask, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    raise(SIGUSR1);
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    cr_expect(write_text("line\n"));
    check_signals(&mask, &pending);
}

/* A reader that is slow for a moment is waited for; one that is full for a program that does not wait loses the line. */
Test(sink, a_full_pipe_that_does_not_wait_loses_the_line) {
    int ends[2];
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    open_descriptor(ends[1]);
    int written = 0;
    while (write_text("0123456789012345678901234567890123456789012345678901234567890123\n")) {
        cr_assert_lt(++written, 100000);
    }
    char text[4096];
    long total = 0;
    for (ssize_t length; (length = read(ends[0], text, sizeof text)) > 0;) {
        total += length;
    }
    cr_expect_eq(total, written * 65l, "every line is whole");
    cr_expect(write_text("again\n"));
}

/* ---- threads ---- */

static void *write_many(void *name) {
    struct ia2_line line;
    for (int i = 0; i < 500; i++) {
        memset(line.text, *(const char *)name, 99);
        line.text[99] = '\n';
        line.length = 100;
        ia2_sink_write(&sink, &line);
    }
    return NULL;
}

FILE_TEST(lines_of_several_threads_are_whole) {
    pthread_t threads[4];
    cr_assert_eq(ia2_sink_open(&sink, path), 0);
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, write_many, (char *)"abcd" + i);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    FILE *stream = fopen(path, "r");
    char text[256];
    int count = 0;
    for (; fgets(text, sizeof text, stream); count++) {
        cr_assert_eq(strlen(text), 100);
        cr_assert_eq(strspn(text, (char[]){text[0], '\0'}), 99);
    }
    fclose(stream);
    cr_expect_eq(count, 2000);
}
