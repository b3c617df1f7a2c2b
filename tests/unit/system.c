/* The helpers without libc: strings, paths, globs, and the system calls that leave errno alone. */
#include "system.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

Test(system, glob_knows_the_star_and_nothing_else) {
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"*", "anything", true},
        {"**", "a", true},
        {"libssl.so.*", "libssl.so.3", true},
        {"libssl.so.*", "libssl.so.", true},
        {"libssl.so.*", "libssl.so", false},
        {"*ssl*", "libssl.so.3", true},
        {"*.so", "libx.so.1.so", true},
        {"*.so", "libx.so.1", false},
        {"/usr/*/libc.so.*", "/usr/lib/x86_64-linux-gnu/libc.so.6", true}, /* a star crosses slashes */
        {"a*b*c", "a-b-b-c", true},
        {"a*b*c", "a-c-b", false},
        {"lib?.so", "libx.so", false},
        {"lib?.so", "lib?.so", true},
        {"lib[ab].so", "liba.so", false},
        {"lib\\*.so", "lib\\anything.so", true},
        {"abc", "abcd", false},
        {"abcd", "abc", false},
        {"*a", "aaaaaaaab", false},
        {"*aab", "aaaaaaaab", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(ia2_glob(cases[i].pattern, cases[i].text), cases[i].matches, "%s against %s", cases[i].pattern,
                     cases[i].text);
    }
}

/* Every pattern and text of up to five characters over {a, b, *}: as fnmatch() has it. */
Test(system, glob_agrees_with_fnmatch) {
    static const char letters[] = "ab*";
    char pattern[6];
    char text[6];
    for (int p = 0; p < 3 * 3 * 3 * 3 * 3; p++) {
        for (int length = 0; length <= 5; length++) {
            for (int i = 0, rest = p; i < length; i++, rest /= 3) {
                pattern[i] = letters[rest % 3];
            }
            pattern[length] = '\0';
            for (int t = 0; t < 32; t++) {
                for (int size = 0; size <= 5; size++) {
                    for (int i = 0; i < size; i++) {
                        text[i] = letters[t >> i & 1];
                    }
                    text[size] = '\0';
                    cr_assert_eq(ia2_glob(pattern, text), fnmatch(pattern, text, 0) == 0, "%s against %s", pattern,
                                 text);
                }
            }
        }
    }
}

/* One level of backtracking: linear in the number of stars, not exponential. */
Test(system, glob_of_many_stars_ends, .timeout = 10) {
    char text[4001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    char pattern[401] = "";
    for (int i = 0; i < 200; i++) {
        memcpy(pattern + 2 * i, "*a", 2);
    }
    cr_expect(ia2_glob(pattern, text));
    pattern[399] = 'b';
    cr_expect_not(ia2_glob(pattern, text));
}

Test(system, copy_ends_in_nul_and_says_whether_all_fitted) {
    char to[8];
    memset(to, 'x', sizeof to);
    cr_expect(ia2_copy(to, 4, "abc"));
    cr_expect_str_eq(to, "abc");
    cr_expect_eq(to[4], 'x', "nothing is written behind the size");
    cr_expect_not(ia2_copy(to, 4, "abcd"));
    cr_expect_str_eq(to, "abc");
    cr_expect(ia2_copy(to, 1, ""));
    cr_expect_str_eq(to, "");
    cr_expect_not(ia2_copy(to, 1, "a"));
    cr_expect_str_eq(to, "");
}

Test(system, base_name_is_what_follows_the_last_slash) {
    cr_expect_str_eq(ia2_base_name("/usr/lib/libc.so.6"), "libc.so.6");
    cr_expect_str_eq(ia2_base_name("libc.so.6"), "libc.so.6");
    cr_expect_str_eq(ia2_base_name("./a"), "a");
    cr_expect_str_eq(ia2_base_name("/"), "");
    cr_expect_str_eq(ia2_base_name("folder/"), "");
    cr_expect_str_eq(ia2_base_name(""), "");
}

Test(system, comparisons) {
    cr_expect(ia2_equal("", ""));
    cr_expect(ia2_equal("abc", "abc"));
    cr_expect_not(ia2_equal("abc", "ab"));
    cr_expect_not(ia2_equal("ab", "abc"));
    cr_expect_not(ia2_equal("", "a"));
    cr_expect(ia2_starts_with("abc", ""));
    cr_expect(ia2_starts_with("abc", "abc"));
    cr_expect_not(ia2_starts_with("ab", "abc"));
    cr_expect_not(ia2_starts_with("xabc", "abc"));
    cr_expect_eq(ia2_length(""), 0);
    cr_expect_eq(ia2_length("abc"), 3);
}

Test(system, calls_return_the_error_and_leave_errno_alone) {
    errno = 4711;
    cr_expect_eq(ia2_syscall1(SYS_close, -1), -EBADF);
    cr_expect_eq(ia2_syscall3(SYS_read, -1, 0, 0), -EBADF);
    cr_expect_eq(ia2_mprotect(1, 1, 0), -EINVAL);
    cr_expect_null(ia2_map_memory(1ul << 62));
    cr_expect_eq(errno, 4711);
    cr_expect_eq(ia2_getpid(), getpid());
    cr_expect_eq(ia2_getppid(), getppid());
    cr_expect_eq(ia2_gettid(), gettid());
}

Test(system, memory_is_zeroed_and_writable) {
    unsigned char *memory = ia2_map_memory(10000);
    cr_assert_not_null(memory);
    cr_expect_eq((uintptr_t)memory % 4096, 0);
    for (size_t i = 0; i < 10000; i++) {
        cr_assert_eq(memory[i], 0);
        memory[i] = 1;
    }
}

Test(system, now_is_the_monotonic_clock) {
    struct timespec time;
    uint64_t before = ia2_now();
    clock_gettime(CLOCK_MONOTONIC, &time);
    uint64_t after = ia2_now();
    uint64_t between = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    cr_expect_leq(before, between);
    cr_expect_leq(between, after);
}

/* ---- the lock of the rare paths ---- */

Test(system, a_lock_is_not_taken_twice_by_one_thread) {
    static ia2_lock lock;
    cr_assert(ia2_lock_take(&lock));
    cr_expect_not(ia2_lock_take(&lock), "a signal handler must not wait for the thread that it interrupts");
    ia2_lock_give(&lock);
    cr_expect(ia2_lock_take(&lock));
}

Test(system, a_forked_child_does_not_wait_for_a_holder_that_it_does_not_have) {
    static ia2_lock lock;
    int status = -1;
    cr_assert(ia2_lock_take(&lock));
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(ia2_lock_take(&lock) ? 7 : 8);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", (unsigned)status);
}
