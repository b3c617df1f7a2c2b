#include "moments.h"

#include <stdlib.h>

#include "say.h"

static volatile int own;
static volatile int *aim = &own;

static void moments_handler(void) {
    *aim = 1;
    say_number("library", "done", *aim);
}

static void moments_registering(void) { moments_register(); }

void moments_aim(volatile int *target) { aim = target ? target : &own; }
int moments_register(void) { return atexit(moments_handler); }
int moments_register_registering(void) { return atexit(moments_registering); }
int moments_register_quick(void) { return at_quick_exit(moments_handler); }
