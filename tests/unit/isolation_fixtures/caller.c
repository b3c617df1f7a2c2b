/* A program that has a library, linked or named, report; given a second path, it renames that file to the first one before. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *library = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    if (argc > 2 && rename(argv[2], argv[1]) != 0) {
        return 2;
    }
    void (*report)(void) = (void (*)(void))dlsym(library, "report");
    report();
    return 0;
}
