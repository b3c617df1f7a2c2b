/* A program under a host runtime: `hosted SCENARIO [PLUGIN]`. Main, libpku_a.so, libpku_b.so and the plugin have keys
 * and stacks of the host's; PKRU is restricted from then on, in main too. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "host.h"
#include "ia2_exit.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

int __cxa_atexit(void (*)(void *), void *, void *);
void __cxa_finalize(void *dso);

static volatile int own;

/* Has the rights of compartment 1, on its stack. */
static void check_main(const char *name, uintptr_t function) {
    rights_check_own(name, function, &own);
    CHECK(host_on_stack(1));
    CHECK(rights_now() == host_pkru(1));
}
#define CHECK_MAIN(function) check_main(#function, (uintptr_t)(function))

static void main_at_exit(void) { CHECK_MAIN(main_at_exit); }

__attribute__((destructor)) static void main_fini_array(void) { CHECK_MAIN(main_fini_array); }

/* Registered with glibc behind the runtime's back: runs as whoever called exit(). */
static void between(void *unused) {
    (void)unused;
    rights_tell("between", (uintptr_t)between, (const void *)&own);
    CHECK(rights_now() == host_pkru(BOARD->leaving));
    CHECK(host_on_stack(BOARD->leaving));
}

__attribute__((noreturn)) static void leave(uint32_t compartment, int status) {
    BOARD->leaving = compartment;
    exit(status);
}

static void register_between(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    CHECK(libc);
    int (*glibc_cxa_atexit)(void (*)(void *), void *, void *) =
        (__typeof__(glibc_cxa_atexit))dlsym(libc, "__cxa_atexit");
    CHECK(glibc_cxa_atexit && glibc_cxa_atexit(between, NULL, NULL) == 0);
}

/* What a gate of the host leads to: code of the library, with its rights. */
static int call_a_register(void *unused) {
    (void)unused;
    a_register();
    return 0;
}

static int call_b_register(void *unused) {
    (void)unused;
    b_register();
    return 0;
}

static int call_b_in_thread(void *unused) {
    (void)unused;
    b_register_in_thread();
    return 0;
}

static int call_a_action(void *action) {
    a_register_action((void (*)(void))action);
    return 0;
}

/* `a` names libpku_b.so as the one that registers. The register tells who it was. */
static void check_a(void *unused) {
    (void)unused;
    rights_tell("check_a", (uintptr_t)check_a, (const void *)&a_data);
    CHECK(rights_now() == host_pkru(2));
    CHECK(host_on_stack(2));
}

static int call_a_foreign(void *unused) {
    (void)unused;
    return __cxa_atexit(check_a, NULL, BOARD->dso_of_b);
}

static void register_all(void) {
    CHECK(atexit(main_at_exit) == 0);
    register_between();
    host_call(2, call_a_register, NULL);
    register_between();
    host_call(3, call_b_register, NULL);
    register_between();
}

/* Actions of a destructor of `a`: code of main on a's stack with a's rights. */

static void on_stack_of_a(void) {
    CHECK(host_on_stack(2));
    CHECK(rights_now() == host_pkru(2));
}

static void exits(void) {
    on_stack_of_a();
    leave(2, 4);
}

/* Runs `nested` with a frame above it that must come back as it was, whatever ran on this stack meanwhile. */
static void keep_frame(void (*nested)(void)) {
    volatile char frame[2048];
    for (size_t i = 0; i < sizeof frame; i++) {
        frame[i] = (char)i;
    }
    on_stack_of_a();
    nested();
    on_stack_of_a();
    for (size_t i = 0; i < sizeof frame; i++) {
        CHECK(frame[i] == (char)i);
    }
}

/* Handlers of `a` run within a destructor of `a`, and within one of the plugin that runs within one of `a`. */
static void finalise_a(void) { __cxa_finalize(BOARD->dso_of_a); }
static void unload_plugin(void) { CHECK(dlclose(BOARD->plugin) == 0); }
static void runs_own(void) { keep_frame(finalise_a); }
static void unloads(void) { keep_frame(unload_plugin); }

static void handle(int number) {
    CHECK(number == SIGUSR1);
    rights_say("handler");
}

static void raises(void) {
    on_stack_of_a();
    CHECK(raise(SIGUSR1) == 0);
    on_stack_of_a();
}

static void load(const char *path) {
    BOARD->plugin = dlopen(path, RTLD_NOW);
    CHECK(BOARD->plugin);
    void (*register_action)(void (*)(void)) =
        (__typeof__(register_action))dlsym(BOARD->plugin, "plugin_register_action");
    CHECK(register_action);
    register_action(finalise_a);
    host_tag(4, (const void *)register_action);
}

static int start_thread_body(void *unused) {
    (void)unused;
    host_call(3, call_b_in_thread, NULL);
    return 0;
}

static void *thread(void *unused) {
    host_call(1, start_thread_body, NULL);
    return unused;
}

/* Main proper: ends with its own rights, on its own stack. */
static int body(void *argument) {
    const char *scenario = argument;
    CHECK_MAIN(body);
    register_all();
    if (strcmp(scenario, "exit") == 0) {
        host_call(2, call_a_action, (void *)exits);
    } else if (strcmp(scenario, "again") == 0) {
        host_call(2, call_a_action, (void *)runs_own);
    } else if (strcmp(scenario, "unload") == 0) {
        host_call(2, call_a_action, (void *)unloads);
    } else if (strcmp(scenario, "foreign") == 0) {
        CHECK(host_call(2, call_a_foreign, NULL) == 0);
    } else if (strcmp(scenario, "signal") == 0) {
        host_call(2, call_a_action, (void *)raises);
    } else if (strcmp(scenario, "thread") == 0) {
        pthread_t started;
        CHECK(pthread_create(&started, NULL, thread, NULL) == 0);
        CHECK(pthread_join(started, NULL) == 0);
        rights_say("joined");
        CHECK_MAIN(body);
    } else {
        CHECK(strcmp(scenario, "kinds") == 0);
    }
    leave(1, 3);
}

/* What ia2_exit_attach() refuses. */
static void check_refusals(void) {
    struct ia2_exit_host bad = {.size = 1};
    CHECK(ia2_exit_attach(NULL) == -EINVAL);
    CHECK(ia2_exit_attach(&bad) == -EINVAL);
    bad.size = sizeof bad;
    CHECK(ia2_exit_attach(&bad) == -EINVAL);
}

static void prepare_signal(void) {
    stack_t stack = {.ss_sp = BOARD->stack, .ss_size = sizeof BOARD->stack};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
    CHECK(sigaltstack(&stack, NULL) == 0);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    board_make();
    BOARD->dso_of_a = a_dso();
    BOARD->dso_of_b = b_dso();
    host_start();
    host_tag(1, (const void *)&own);
    host_tag(2, (const void *)&a_data);
    host_tag(3, (const void *)&b_data);
    if (argc > 2) {
        load(argv[2]);
    }
    prepare_signal();
    check_refusals();
    CHECK(host_attach() == 0);
    CHECK(host_attach() == -EBUSY);
    host_call(1, body, argv[1]);
    CHECK(!"main comes back");
}
