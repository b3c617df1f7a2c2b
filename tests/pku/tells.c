/* Destructors that only tell their rights: `tells`. One of them is code that lies in no object, registered by such
 * code: nobody owns it. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ia2_exit_note.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

int __cxa_atexit(void (*)(void *), void *, void *);

static volatile int own;

static void first(void) { rights_tell("first", (uintptr_t)first, (const void *)&own); }

static void last(void) { rights_tell("last", (uintptr_t)last, (const void *)&own); }

static void nobodys(void *code) { rights_tell("nobodys", (uintptr_t)code, (const void *)&own); }

/* Writes code to `page` that calls `function` and returns; gives its address. */
static void *outside(void *page, uintptr_t function) {
    unsigned char code[] = {0x48, 0x83, 0xec, 0x08,                     /* sub $8, %rsp */
                            0x48, 0xb8, 0,    0,    0,   0, 0, 0, 0, 0, /* mov $function, %rax */
                            0xff, 0xd0,                                 /* call *%rax */
                            0x48, 0x83, 0xc4, 0x08, 0xc3};              /* add $8, %rsp; ret */
    memcpy(code + 6, &function, sizeof function);
    return memcpy(page, code, sizeof code);
}

int main(void) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    void *registers = outside(page, (uintptr_t)__cxa_atexit);
    void *runs = outside(page + 256, (uintptr_t)nobodys);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    CHECK(atexit(last) == 0);
    CHECK(((__typeof__(&__cxa_atexit))registers)((void (*)(void *))runs, runs, NULL) == 0);
    CHECK(atexit(first) == 0);
    return 3;
}
