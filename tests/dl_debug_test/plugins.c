#include "program.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

/* The function PLUGIN_SUFFIX of the plug-in PLUGIN.so. */
static void (*find(void *handle, const char *name, const char *suffix))(void) {
    char symbol[128];
    void (*function)(void);

    snprintf(symbol, sizeof symbol, "%.*s_%s", (int)strcspn(name, "."), name, suffix);
    *(void **)&function = dlsym(handle, symbol);
    if (function == NULL) {
        fprintf(stderr, "dl_debug_test: %s: no symbol %s\n", name, symbol);
        _exit(98);
    }
    return function;
}

struct plugin plugin_load(const char *name) {
    struct plugin plugin = {.handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)};
    Dl_info info;

    if (plugin.handle == NULL) {
        fprintf(stderr, "dl_debug_test: %s\n", dlerror());
        _exit(98);
    }
    plugin.do_register = find(plugin.handle, name, "register");
    plugin.register_in_thread = find(plugin.handle, name, "register_in_thread");
    plugin.delete_key = find(plugin.handle, name, "delete_key");
    if (dladdr((void *)plugin.do_register, &info) == 0)
        _exit(98);
    plugin.base = info.dli_fbase;
    return plugin;
}

void plugin_unload(const struct plugin *plugin) { log_step("dlclose", dlclose(plugin->handle)); }

void plugin_block_address(const struct plugin *plugin) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *there = mmap(plugin->base, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    log_step("address_blocked", there == plugin->base);
}

int plugin_is_loaded(const char *name) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);

    if (handle != NULL)
        dlclose(handle);
    return handle != NULL;
}
