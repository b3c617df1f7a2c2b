#include "next.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

TestSuite(next, .timeout = 60);

/* What the runtime looks for; functions with several versions, with one that is hidden, chosen at run time, of other libraries, of several
 * (malloc may be a user's), and of none. */
static const char *const names[] = {"__cxa_atexit",
                                    "on_exit",
                                    "__cxa_at_quick_exit",
                                    "__cxa_thread_atexit_impl",
                                    "pthread_key_create",
                                    "exit",
                                    "dlclose",
                                    "execve",
                                    "posix_spawn",
                                    "popen",
                                    "sigaction",
                                    "signal",
                                    "sysv_signal",
                                    "sigaltstack",
                                    "fopencookie",
                                    "realpath",
                                    "pthread_cond_wait",
                                    "regexec",
                                    "glob",
                                    "nftw",
                                    "fmemopen",
                                    "sched_getaffinity",
                                    "timer_create",
                                    "memcpy",
                                    "strlen",
                                    "gettimeofday",
                                    "cr_assert_fail_never",
                                    "criterion_run_all_tests",
                                    "json_dumps",
                                    "inflate",
                                    "malloc",
                                    "free",
                                    "no_such_function_anywhere",
                                    "__libc_start_main",
                                    "quick_exit",
                                    "lgamma"};

enum { COUNT = sizeof names / sizeof *names };
_Static_assert(COUNT <= IA2_MOST_NEXT, "");

Test(next, it_is_what_dlsym_finds) {
    struct ia2_next table[COUNT];
    void *found[COUNT] = {NULL};
    int there = 0;
    for (int i = 0; i < COUNT; i++) {
        table[i] = (struct ia2_next){names[i], (size_t)i * sizeof *found};
    }
    ia2_next_resolve(table, COUNT, found);
    for (int i = 0; i < COUNT; i++) {
        void *expected = dlsym(RTLD_NEXT, names[i]);
        cr_expect_eq(found[i], expected, "%s: %p, dlsym finds %p", names[i], found[i], expected);
        there += expected != NULL;
    }
    cr_assert_gt(there, COUNT - 6);
}

Test(next, an_object_before_us_is_not_asked) {
    void *found = NULL;
    const struct ia2_next table = {"main", 0};
    ia2_next_resolve(&table, 1, &found);
    cr_assert_eq(found, dlsym(RTLD_NEXT, "main"));
}
