/* `loads SCENARIO [intrude]`: objects come and go, before the exit and in destructors. With `intrude` the plug-in's
 * handler marks a byte of this program's when it goes. */
#include "loads.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "intruder.h"
#include "say.h"

static char secret[64] = " ";
static char *target;
static void *plugin;

static void load(void) {
    void (*aim)(char *);
    int (*do_register)(void);

    plugin = dlopen("plugin.so", RTLD_LAZY | RTLD_LOCAL);
    if (plugin == NULL) {
        say("main", dlerror());
        _exit(95);
    }
    *(void **)&aim = dlsym(plugin, "plugin_aim");
    *(void **)&do_register = dlsym(plugin, "plugin_register");
    aim(target);
    if (do_register() != 0)
        _exit(95);
    say("main", "loaded");
}

static void unload(void) {
    if (dlclose(plugin) != 0)
        _exit(95);
    say("main", dlopen("plugin.so", RTLD_NOLOAD | RTLD_NOW) == NULL ? "unloaded" : "still there");
    secret[1] = secret[1] == 'm' ? 'M' : 'm'; /* ours, and open again */
}

static void at_exit(void (*function)(void)) {
    if (atexit(function) != 0)
        _exit(96);
}

static void load_and_unload(void) {
    load();
    unload();
}

static void resident(void) { load(); }

static void reload(void) {
    load_and_unload();
    load_and_unload();
    load();
}

static void unload_in_destructor(void) {
    load();
    at_exit(unload);
}

static void load_in_destructor(void) { at_exit(load); }

static void both_in_destructor(void) { at_exit(load_and_unload); }

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"unload", load_and_unload},
    {"resident", resident},
    {"reload", reload},
    {"unload-in-destructor", unload_in_destructor},
    {"load-in-destructor", load_in_destructor},
    {"both-in-destructor", both_in_destructor},
};

static void main_last(void) { say("main secret", secret[0] == ' ' ? "kept" : "changed"); }

__attribute__((destructor)) static void main_fini(void) {
    say("main fini, secret", secret[0] == ' ' ? "kept" : "changed");
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 98;
    target = argc > 2 ? secret : NULL;
    at_exit(main_last);
    intruder_idles();
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, argv[1]) == 0) {
            scenarios[i].run();
            return 7;
        }
    return 97;
}
