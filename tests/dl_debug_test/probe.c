/* Uses the public interface of libia2.so (ia2_exit.h) as a program that is linked with it does. Started by the suite with
 * the exit map of the test bed; each line that it prints is something that was not as it should be. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ia2_exit.h"
#include "library.h"

void library_fini(void); /* destructors.h */

static int complaints;

static void complain(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    complaints++;
}

static void expect_destructor(const char *symbol, const void *function, uint32_t kind, uint32_t compartment,
                              const char *object) {
    const struct ia2_destructor *found = ia2_destructor_lookup(function);
    Dl_info info;

    if (found == NULL) {
        complain(symbol, "not found");
        return;
    }
    if (dladdr(function, &info) == 0 || found->rva != (uintptr_t)function - (uintptr_t)info.dli_fbase)
        complain(symbol, "rva");
    if (found->kind != kind)
        complain(symbol, "kind");
    if (found->compartment != compartment)
        complain(symbol, "compartment");
    if (found->symbol == NULL || strcmp(found->symbol, symbol) != 0)
        complain(symbol, "symbol");
    if (strcmp(found->object, object) != 0)
        complain(symbol, "object");
}

static void expect_nothing(const char *what, const void *address) {
    if (ia2_destructor_lookup(address) != NULL)
        complain(what, "found, although it is no destructor");
}

int main(void) {
    char on_stack;
    char record[256] = {0};
    void *plugin;
    void *plugin_fini;

    expect_destructor("library_fini", (const void *)library_fini, IA2_EXIT_FINI, 2, "libdl_debug_library.so");
    expect_destructor("library_borrowed_on_exit", (const void *)library_borrowed_on_exit, IA2_EXIT_ON_EXIT, 2,
                      "libdl_debug_library.so");
    expect_nothing("a function that is no destructor", (const void *)library_register);
    expect_nothing("the middle of a destructor", (const char *)library_fini + 1);
    expect_nothing("a function of libc", (const void *)puts);
    expect_nothing("the stack", &on_stack);
    expect_nothing("NULL", NULL);
    expect_nothing("1", (const void *)1);
    expect_nothing("the last address", (const void *)UINTPTR_MAX);

    plugin = dlopen("plugin_resident.so", RTLD_NOW);
    plugin_fini = plugin == NULL ? NULL : dlsym(plugin, "plugin_resident_fini");
    expect_destructor("plugin_resident_fini", plugin_fini, IA2_EXIT_FINI, 4, "plugin_resident.so");
    if (plugin == NULL || dlclose(plugin) != 0)
        complain("plugin_resident.so", "dlopen or dlclose");
    expect_nothing("a destructor of an unloaded object", plugin_fini);

    /* No record of the runtime: refused, and the program goes on. */
    ia2_run_destructor(NULL);
    ia2_run_destructor((const struct exit_record *)record);
    ia2_run_destructor((const struct exit_record *)(uintptr_t)library_fini);
    return complaints != 0;
}
