/* `dl_debug_stray FROM-TO`: at exit a destructor of compartment FROM, 1 to 5, writes to memory of compartment TO, 1 to 3. */
#define OBJECT strayer
#define COMPARTMENT 1
#include "destructors.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "library.h"

void library_register_stray(void *memory);
void library_cxx_register_stray(void *memory);
void *library_cxx_memory(void);

static void register_in_plugin(const char *file, const char *symbol, void *memory) {
    void (*register_stray)(void *);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);

    *(void **)&register_stray = handle == NULL ? NULL : dlsym(handle, symbol);
    if (register_stray == NULL)
        _exit(98);
    register_stray(memory);
}

static void *memory_of(int compartment) {
    return compartment == 1 ? strayer_memory() : compartment == 2 ? library_memory() : library_cxx_memory();
}

int main(int argc, char **argv) {
    int from, to;

    if (argc < 2 || sscanf(argv[1], "%d-%d", &from, &to) != 2)
        return 97;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (from == 1)
        strayer_register_stray(memory_of(to));
    else if (from == 2)
        library_register_stray(memory_of(to));
    else if (from == 3)
        library_cxx_register_stray(memory_of(to));
    else if (from == 4)
        register_in_plugin("plugin_resident.so", "plugin_resident_register_stray", memory_of(to));
    else
        register_in_plugin("plugin_unloaded.so", "plugin_unloaded_register_stray", memory_of(to));
    return 0;
}
