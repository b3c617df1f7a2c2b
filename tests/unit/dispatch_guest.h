/* What dispatch.c wants of the rest of the runtime, for tests: a region of pages that can be closed, notes of what was asked, and
 * the kernel's own signal calls with the forced signals left out. */
#ifndef DISPATCH_GUEST_H
#define DISPATCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "guest.h"

#define GUEST_PAGE 4096
#define GUEST_PAGES 64

struct guest_touch {
    long number;
    uintptr_t address;
    bool write, known;
};

extern unsigned char *guest_memory; /* GUEST_PAGES pages, readable and writable, between two that are not mapped */
extern struct guest_touch guest_touched[256];
extern volatile int guest_touches;
extern volatile int *guest_counter;     /* of system calls that came to the handler */
extern int guest_threads, guest_vforks; /* children announced */
extern enum ia2_touch guest_answer;     /* to a touch; IA2_TOUCH_REPEAT opens the page */
extern uintptr_t guest_escape;          /* where a touch sends the interrupted code, if not 0 */
extern bool guest_stuck;                /* a touch is answered with IA2_TOUCH_REPEAT and opens nothing */

#define guest_dispatched (*guest_counter)

/* Sets the handler of SIGSYS, arms dispatch in this thread and switches interception on. Ends the process where that fails. */
void guest_begin(void);
void guest_end(void);

/* Closes `count` pages of guest_memory from page number `first` on: for reading and writing, or for writing only. */
void guest_close(int first, int count);
void guest_close_for_writing(int first, int count);
bool guest_is_closed(int page);

#endif
