/* Children of a thread under dispatch: every way to create one works, copies of the process are under dispatch again. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dispatch.h"
#include "dispatch_guest.h"

#define STACK 65536

static char *page(int number) { return (char *)guest_memory + number * GUEST_PAGE; }

static int status_of(pid_t child) {
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In a child: 40, plus 1 if its system calls are dispatched and 2 if closed memory is seen to. */
static int report(void) {
    int before = guest_dispatched;
    int touches = guest_touches;
    getppid();
    int dispatched = guest_dispatched > before;
    guest_close(3, 1);
    ssize_t count = read(open("/proc/self/comm", O_RDONLY), page(3), 1);
    return 40 + dispatched + (count == 1 && guest_touches == touches + 1 ? 2 : 0);
}

Test(dispatch_children, a_forked_child_is_under_dispatch) {
    guest_begin();
    pid_t child = fork();
    if (child == 0) {
        _exit(report());
    }
    int status = status_of(child);
    int here = report();
    guest_end();
    cr_expect_eq(status, 43);
    cr_expect_eq(here, 43);
    cr_expect(guest_threads == 0 && guest_vforks == 0);
}

Test(dispatch_children, a_child_forked_without_interception_can_be_armed) {
    guest_begin();
    ia2_dispatch_intercept(false);
    pid_t child = fork();
    if (child == 0) {
        bool armed = ia2_dispatch_after_fork();
        ia2_dispatch_intercept(true);
        _exit(armed ? report() : 1);
    }
    int status = status_of(child);
    guest_end();
    cr_expect_eq(status, 43);
}

Test(dispatch_children, fork_again_and_again) {
    guest_begin();
    pid_t first = fork();
    if (first == 0) {
        pid_t second = fork();
        if (second == 0) {
            pid_t third = fork();
            _exit(third ? status_of(third) : report());
        }
        _exit(status_of(second));
    }
    int status = status_of(first);
    guest_end();
    cr_expect_eq(status, 43);
}

Test(dispatch_children, vfork_and_exec) {
    guest_begin();
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(1);
    }
    int status = status_of(child);
    int here = report();
    guest_end();
    cr_expect_eq(status, 7);
    cr_expect_eq(here, 43);
    cr_expect(guest_vforks == 1 && guest_threads == 0);
}

Test(dispatch_children, a_hundred_vforks) {
    volatile int wrong = 0;
    guest_begin();
    for (int i = 0; i < 100; i++) {
        pid_t child = vfork();
        if (child == 0) {
            _exit(i);
        }
        wrong += status_of(child) != i;
    }
    guest_end();
    cr_expect_eq(wrong, 0);
}

Test(dispatch_children, posix_spawn_system_and_popen) {
    char *arguments[] = {"sh", "-c", "exit 9", NULL};
    char word[16] = "";
    pid_t child = -1;
    guest_begin();
    int failed = posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ);
    int status = status_of(child);
    int shell = system("exit 11");
    FILE *pipe = popen("echo word", "r");
    char *line = fgets(word, sizeof word, pipe);
    int closed = pclose(pipe);
    guest_end();
    cr_expect(failed == 0 && status == 9);
    cr_expect_eq(WEXITSTATUS(shell), 11);
    cr_expect(line && strcmp(word, "word\n") == 0 && closed == 0);
    cr_expect_eq(guest_vforks, 3);
}

Test(dispatch_children, exec_reads_closed_strings) {
    guest_begin();
    strcpy(page(1), "/bin/sh");
    strcpy(page(2), "test $WORD = word && exit 13");
    strcpy(page(3), "WORD=word");
    ((char **)page(4))[0] = page(1);
    ((char **)page(4))[1] = "-c";
    ((char **)page(4))[2] = page(2);
    ((char **)page(4))[3] = NULL;
    char *environment[] = {page(3), NULL};
    guest_close(1, 4);
    pid_t child = fork();
    if (child == 0) {
        execve(page(1), (char **)page(4), environment);
        _exit(1);
    }
    int status = status_of(child);
    guest_end();
    cr_expect_eq(status, 13);
}

static void *thread(void *unused) {
    (void)unused;
    return (void *)(intptr_t)report();
}

Test(dispatch_children, a_thread_runs_without_dispatch) {
    pthread_t threads[8];
    void *results[8];
    int failed = 0;
    guest_begin();
    for (int i = 0; i < 8; i++) {
        failed |= pthread_create(&threads[i], NULL, thread, NULL);
        failed |= pthread_join(threads[i], &results[i]);
        guest_begin(); /* the page that it closed */
    }
    int here = report();
    guest_end();
    cr_assert_eq(failed, 0);
    cr_expect_eq((intptr_t)results[0], 40);
    cr_expect_eq(here, 43);
    cr_expect(guest_threads == 8 && guest_vforks == 0);
}

static int child_main(void *argument) { return argument == &guest_touches ? report() : 1; }

static int cloned(int flags) {
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_begin();
    pid_t child = clone(child_main, stack + STACK, flags | SIGCHLD, (void *)&guest_touches);
    int status = status_of(child);
    guest_end();
    return status;
}

Test(dispatch_children, a_copy_with_a_stack_of_its_own_is_under_dispatch) {
    cr_expect_eq(cloned(0), 43);
    cr_expect_eq(cloned(CLONE_FS | CLONE_FILES), 43);
    cr_expect_eq(guest_threads, 0);
}

Test(dispatch_children, one_that_shares_memory_is_announced) {
    cr_expect_eq(cloned(CLONE_VM | CLONE_VFORK), 40);
    cr_expect(guest_vforks == 1 && guest_threads == 0);
    cr_expect_eq(cloned(CLONE_VM), 40);
    cr_expect(guest_vforks == 1 && guest_threads == 1);
}

Test(dispatch_children, clone3) {
    struct clone_args *wanted = (struct clone_args *)page(5);
    guest_begin();
    memset(wanted, 0, sizeof *wanted);
    wanted->exit_signal = SIGCHLD;
    wanted->flags = CLONE_PARENT_SETTID;
    wanted->parent_tid = (uintptr_t)page(6);
    guest_close(5, 2);
    long child = syscall(SYS_clone3, wanted, sizeof *wanted);
    if (child == 0) {
        _exit(report());
    }
    int status = status_of((pid_t)child);
    guest_end();
    cr_expect_eq(status, 43);
    cr_expect_eq(*(int *)page(6), child);
}

Test(dispatch_children, a_child_that_cannot_be_created) {
    guest_begin();
    long child = syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0); /* needs CLONE_VM */
    int error = errno;
    int here = report();
    guest_end();
    cr_expect(child == -1 && error == EINVAL);
    cr_expect_eq(here, 43);
}

/* kill(0, 0): mov $62, %eax; syscall; ret. It takes the same way as a call that creates a child. */
static const unsigned char kill_here[16] = {0xb8, 62, 0, 0, 0, 0x0f, 0x05, 0xc3};

/* More places than trampolines: the last ones run unseen. */
Test(dispatch_children, more_places_than_trampolines) {
    enum { PLACES = IA2_TRAMPOLINES + 3 };
    unsigned char *code =
        mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int wrong = 0;
    for (int i = 0; i < PLACES; i++) {
        memcpy(code + 16 * i, kill_here, sizeof kill_here);
    }
    guest_begin();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PLACES; i++) {
            ia2_dispatch_intercept(true);
            wrong += ((long (*)(long, long))(code + 16 * i))(0, 0) != 0;
        }
    }
    guest_end();
    cr_expect_eq(wrong, 0);
    cr_expect_eq(guest_dispatched, 2 * PLACES);
}
