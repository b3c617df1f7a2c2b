/* A program or a library with data of every sort, which says what of it can be closed. */
#ifdef MARKED
#include "ia2_exit_note.h"
#endif
#include <stdint.h>

#include "probe.h"

static volatile int data = 1;
static volatile int bss[3000];
static volatile int *const constant = &data; /* relocated, then read-only: RELRO where there is any */
#ifdef MARKED
IA2_SHARED_DATA static volatile char shared_small[16] = {1};
IA2_SHARED_DATA static volatile char shared_large[3 * 4096] = {1};
#endif
#ifdef MANY
/* The linker gives sections that are far apart segments of their own (--section-start). */
#define FAR(n) __attribute__((section(".far" #n))) static volatile int far##n = 1
FAR(1);
FAR(2);
FAR(3);
FAR(4);
FAR(5);
#endif

void report(void) {
    probe_start();
    probe_show_object("object", &data);
    probe_show("data", &data);
    probe_show("bss", &bss[1500]);
    probe_show("constant", &constant);
    probe_show("code", (const void *)&report);
#ifdef MARKED
    probe_show("shared_small", shared_small);
    probe_show("shared_large", (const volatile char *)(((uintptr_t)shared_large + 4095) & ~(uintptr_t)4095));
#endif
#ifdef MANY
    probe_show("far", far1 + far2 + far3 + far4 + far5 == MANY ? &far1 : &far2);
#endif
}

#ifdef PROGRAM
int main(void) {
    report();
    return 0;
}
#endif
