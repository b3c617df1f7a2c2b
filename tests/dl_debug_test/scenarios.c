#include "scenarios.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cxa.h"
#include "library.h"
#include "log.h"
#include "program.h"

/* ---- the ways to leave ---- */

static int normal(void) {
    register_everything();
    exit(0);
}

static int return_from_main(void) {
    register_everything();
    return 7;
}

static int leave_quickly(void) {
    register_everything();
    fflush(stdout); /* quick_exit leaves stdio alone */
    quick_exit(9);
}

static int leave_at_once(void) {
    register_everything();
    fflush(stdout);
    _exit(11);
}

static int leave_by_errx(void) {
    register_everything();
    errx(13, "errx calls an exit that cannot be interposed");
}

static int leave_by_abort(void) {
    register_everything();
    fflush(stdout);
    abort();
}

/* ---- handlers that do things ---- */

static void exiting_handler(void) {
    log_ran("atexit", __func__, NULL, 0);
    exit(5);
}

static int exit_in_handler(void) {
    register_everything();
    log_registered("atexit", "exiting_handler", atexit(exiting_handler));
    exit(1);
}

static void late_atexit(void) { log_ran("atexit", __func__, NULL, 0); }

static void late_on_exit(int status, void *argument) {
    (void)argument;
    log_ran("on_exit", __func__, "status", status);
}

static void late_cxa_atexit(void *argument) {
    log_ran("cxa_atexit", __func__, "depth", (long)argument);
    if (argument != NULL)
        log_registered("cxa_atexit", "late_cxa_atexit",
                       __cxa_atexit(late_cxa_atexit, (char *)argument - 1, &__dso_handle));
}

static void registering_handler(void) {
    log_ran("atexit", __func__, NULL, 0);
    log_registered("atexit", "late_atexit", atexit(late_atexit));
    log_registered("on_exit", "late_on_exit", on_exit(late_on_exit, NULL));
    log_registered("cxa_atexit", "late_cxa_atexit", __cxa_atexit(late_cxa_atexit, (void *)2, &__dso_handle));
}

static int register_in_handler(void) {
    register_everything();
    log_registered("atexit", "registering_handler", atexit(registering_handler));
    exit(0);
}

static struct plugin plugin_of_handler;

/* The key goes back now: in a handler of the program's, the plug-in's code could not read its own data. */
static void load_for_handler(void) {
    plugin_of_handler = plugin_load("plugin_unloaded.so");
    plugin_of_handler.do_register();
    plugin_of_handler.delete_key();
}

static void unloading_handler(void) {
    log_ran("atexit", __func__, NULL, 0);
    plugin_unload(&plugin_of_handler);
    log_step("unloaded_is_loaded", plugin_is_loaded("plugin_unloaded.so"));
}

static int dlclose_in_handler(void) {
    load_for_handler();
    log_registered("atexit", "unloading_handler", atexit(unloading_handler));
    exit(0);
}

/* Runs the handlers of another object, which is not at its end. */
static void finalizing_handler(void) {
    log_ran("atexit", __func__, NULL, 0);
    __cxa_finalize(library_dso_handle());
}

/* Of all of these, one inside the other: what library_cxx's handler leaves of exit(1) runs inside it. */
static int mixed(void) {
    register_everything();
    load_for_handler();
    library_cxx_register_exiting();
    register_crossed();
    log_registered("atexit", "finalizing_handler", atexit(finalizing_handler));
    log_registered("atexit", "registering_handler", atexit(registering_handler));
    log_registered("atexit", "unloading_handler", atexit(unloading_handler));
    exit(1);
}

/* ---- children ---- */

static int fork_child(void) {
    pid_t child;
    int status = 0;

    register_everything();
    fflush(stdout);
    child = fork();
    if (child == 0)
        exit(21);
    log_step("child_reaped", waitpid(child, &status, 0) == child);
    log_step("child_status", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 0;
}

const struct scenario scenarios[] = {
    {"normal", 0, "every kind in every object, then exit(0)", normal},
    {"return-from-main", 7, "main returns", return_from_main},
    {"exit-in-handler", 5, "a handler of exit(1) calls exit(5)", exit_in_handler},
    {"register-in-handler", 0, "a handler registers handlers, and one of those again", register_in_handler},
    {"dlclose-in-handler", 0, "a handler unloads an object that has handlers", dlclose_in_handler},
    {"mixed", 14, "handlers that run, register, unload and end each other, of all objects and of none", mixed},
    {"quick-exit", 9, "quick_exit: at_quick_exit handlers only", leave_quickly},
    {"underscore-exit", 11, "_exit: no destructor", leave_at_once},
    {"errx", 13, "errx: exit by a call inside libc", leave_by_errx},
    {"abort", -SIGABRT, "abort: no destructor, killed by a signal", leave_by_abort},
    {"thread-end", 0, "threads return, call pthread_exit, are cancelled", scenario_thread_end},
    {"thread-exit", 12, "a thread that is not main's calls exit", scenario_thread_exit},
    {"last-thread", 0, "main's thread ends first, the last thread's end is the exit", scenario_last_thread},
    {"key-limit", 0, "all thread-specific keys that there are", scenario_key_limit},
    {"dlclose", 0, "an object is unloaded at the last dlclose of two", scenario_unload},
    {"dlclose-pinned", 0, "a thread-local destructor keeps an object loaded", scenario_unload_pinned},
    {"reload", 0, "unloaded, and loaded again at another address", scenario_reload},
    {"crossed", 0, "functions and handles of other objects, and of none", scenario_crossed},
    {"fork", 0, "a forked child exits with the handlers that it inherited", fork_child},
    {NULL, 0, NULL, NULL},
};
