/* A library without notes: its note is written by `ia2exit map --note` and linked in. */
#include <stdlib.h>

static volatile int count;

void exported(void);
void exported(void) { count++; }

__attribute__((visibility("hidden"))) void hidden(void);
void hidden(void) { count += 2; }

/* A name that the C preprocessor would replace. */
__attribute__((visibility("hidden"))) void renamed(void) __asm__("linux");
void renamed(void) { count += 3; }

static void local(void) { count += 4; }

__attribute__((constructor)) static void start(void) {
    atexit(exported);
    atexit(hidden);
    at_quick_exit(renamed);
    atexit(local);
}
