/* Scenarios about objects that go, and about whose name a registration uses. */
#include "scenarios.h"

#include <err.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cxa.h"
#include "library.h"
#include "log.h"
#include "program.h"

/* ---- unloading ---- */

static struct plugin unloading_plugin;

static void *use_unloading_plugin(void *unused) {
    unloading_plugin.register_in_thread();
    return unused;
}

int scenario_unload(void) {
    struct plugin second;

    main_register();
    unloading_plugin = plugin_load("plugin_unloaded.so");
    second = plugin_load("plugin_unloaded.so");
    unloading_plugin.do_register();
    in_thread(use_unloading_plugin);
    unloading_plugin.delete_key();
    plugin_unload(&second); /* one reference of two: nothing runs */
    log_step("unloaded_is_loaded", plugin_is_loaded("plugin_unloaded.so"));
    plugin_unload(&unloading_plugin);
    log_step("unloaded_is_loaded", plugin_is_loaded("plugin_unloaded.so"));
    return 0;
}

/* A thread-local destructor of the main thread keeps the object loaded until exit. */
int scenario_unload_pinned(void) {
    struct plugin plugin = plugin_load("plugin_unloaded.so");

    main_register();
    plugin.do_register();
    plugin.register_in_thread();
    plugin.delete_key();
    plugin_unload(&plugin);
    log_step("unloaded_is_loaded", plugin_is_loaded("plugin_unloaded.so"));
    return 0;
}

int scenario_reload(void) {
    struct plugin first = plugin_load("plugin_unloaded.so");
    struct plugin second;

    main_register();
    first.do_register();
    first.delete_key();
    plugin_unload(&first);
    plugin_block_address(&first);
    second = plugin_load("plugin_unloaded.so");
    log_step("moved", second.base != first.base);
    second.do_register();
    second.delete_key();
    return 0; /* loaded at exit: its destructors run there */
}

/* ---- names of other objects, and of none ---- */

static int crossed_argument = 1;

static void lent_to_library(void *argument) { log_ran("cxa_atexit", __func__, "argument", *(int *)argument); }

static void without_object(void *argument) { log_ran("cxa_atexit", __func__, "argument", *(int *)argument); }

/* `endbr64; ret` */
static const unsigned char code_that_returns[] = {0xf3, 0x0f, 0x1e, 0xfa, 0xc3};

/* `endbr64; sub $8,%rsp; call *%rcx; add $8,%rsp; ret`: calls its fourth argument with the first three. */
static const unsigned char code_that_calls[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08,
                                                0xff, 0xd1, 0x48, 0x83, 0xc4, 0x08, 0xc3};

/* In memory that no object covers, as a JIT compiler makes it. */
static void *make_code(const unsigned char *code, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *there = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (there == MAP_FAILED)
        err(98, "mmap");
    for (size_t i = 0; i < size; i++)
        there[i] = code[i];
    log_step("mprotect", mprotect(there, page, PROT_READ | PROT_EXEC));
    return there;
}

void register_crossed(void) {
    void (*generated)(void *);
    int (*registering)(void (*)(void *), void *, void *, int (*)(void (*)(void *), void *, void *));

    log_registered("cxa_atexit", "library_borrowed", __cxa_atexit(library_borrowed, &crossed_argument, &__dso_handle));
    log_registered("on_exit", "library_borrowed_on_exit", on_exit(library_borrowed_on_exit, NULL));
    log_registered("cxa_atexit", "lent_to_library",
                   __cxa_atexit(lent_to_library, library_memory(), library_dso_handle()));
    log_registered("cxa_atexit", "without_object", __cxa_atexit(without_object, &crossed_argument, NULL));
    *(void **)&generated = make_code(code_that_returns, sizeof code_that_returns);
    log_registered("cxa_atexit", "generated", __cxa_atexit(generated, NULL, &__dso_handle));
    *(void **)&registering = make_code(code_that_calls, sizeof code_that_calls);
    log_registered("cxa_atexit", "generated", registering(generated, NULL, NULL, __cxa_atexit));
}

int scenario_crossed(void) {
    main_register();
    library_register();
    register_crossed();
    return 0;
}
