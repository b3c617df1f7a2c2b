/* A program that uses protection keys itself: `keys`. What it did with its own keys holds in its destructors, too. */
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ia2_exit_note.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static volatile int own;
/* Pages behind keys of the program: one open, one that may be read only. */
static int *writable;
static int *readable;

static int *make_page(int rights) {
    int key = pkey_alloc(0, (unsigned)rights);
    CHECK(key > 0);
    int *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK(pkey_mprotect(page, 4096, PROT_READ | PROT_WRITE, key) == 0);
    CHECK(rights_key_of(page) == key);
    return page;
}

static void main_at_exit(void) {
    uint32_t pkru = rights_now();
    int key = rights_key_of((const void *)&own);
    rights_tell("main_at_exit", (uintptr_t)main_at_exit, (const void *)&own);
    CHECK(key != 0 && rights_open(pkru, key));
    CHECK(rights_open(pkru, rights_key_of(writable)));
    CHECK((pkru >> (2 * rights_key_of(readable)) & 3u) == PKEY_DISABLE_WRITE);
    *writable = *readable + 1;
    own += 1;
}

int main(void) {
    writable = make_page(0);
    readable = make_page(PKEY_DISABLE_WRITE);
    CHECK(atexit(main_at_exit) == 0);
    return 3;
}
