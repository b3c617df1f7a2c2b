/* A library whose constructor changes its own .fini_array, which was whole when it had been relocated. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static void instead(void) {
    if (write(1, "instead\n", 8) < 0)
        _exit(96);
}
static void own(void) {
    if (write(1, "own\n", 4) < 0)
        _exit(96);
}

__attribute__((section(".fini_array"), used)) static void (*volatile entry)(void) = own;

__attribute__((constructor)) static void rewrite(void) {
    uintptr_t page = (uintptr_t)&entry & ~(uintptr_t)4095;
    if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0)
        _exit(97);
    entry = instead;
}
