/* `secrets ACTION TARGET [EVIDENCE]`: at exit a destructor of libculprit.so does ACTION to the secret TARGET. The pages of
 * the secret become those of the file EVIDENCE: what was written there can be seen when the process is gone. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "say.h"
#include "secret.h"

enum { PAGE = 4096 };

/* stdout is the C library's: its copy lies at the begin of our .bss, and small_secret on the same page. */
static char whole_pages[3 * PAGE] __attribute__((section(".bss.pages"), aligned(4096)));
static char small_secret[SECRET_ROOM];
static char *const page_secret = whole_pages + PAGE;

static char *find(const char *name) {
    if (strcmp(name, "symbol") == 0)
        return (char *)&stdout;
    if (strcmp(name, "copy") == 0)
        return small_secret;
    return strcmp(name, "page") == 0 ? page_secret : victim_secret(name);
}

static void keep_evidence(const char *path, char *secret) {
    char *first = (char *)((uintptr_t)secret & ~(uintptr_t)(PAGE - 1));
    size_t size = (size_t)(secret + SECRET_ROOM - first + PAGE - 1) / PAGE * PAGE;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (file < 0 || write(file, first, size) != (ssize_t)size ||
        mmap(first, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != first || close(file) != 0)
        _exit(99);
}

static void main_before(void) { say("main", "before"); }

static void main_after(void) {
    say("main copy", STATE_OF(small_secret));
    say("main page", STATE_OF(page_secret));
}

__attribute__((destructor)) static void main_fini(void) { say("main", "fini"); }

int main(int argc, char **argv) {
    char *secret;
    char *start;

    if (argc < 3)
        return 98;
    memcpy(small_secret, SECRET, sizeof SECRET);
    memcpy(page_secret, SECRET, sizeof SECRET);
    secret = find(argv[2]);
    start = strcmp(argv[2], "edge") == 0 ? victim_shared_end() - 8 : secret;
    fprintf(stdout, "%#lx %#lx\n", (unsigned long)secret, (unsigned long)start);
    fflush(stdout);
    if (argc > 3)
        keep_evidence(argv[3], secret);
    if (atexit(main_after) != 0 || culprit_register(argv[1], secret, start) != 0 || atexit(main_before) != 0)
        return 97;
    return 7;
}
