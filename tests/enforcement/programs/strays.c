/* Its .fini_array names, from the start on, what is no code: ENTRY. */
#include "say.h"

#define DATA ((void *)data)
#define NOWHERE ((void *)0x123456789000)

__attribute__((unused)) static char data[64];

static void entry_runs(void) { say("main", "entry runs"); }

/* Run last first. */
__attribute__((section(".fini_array"), used)) static void *const entries[] = {(void *)entry_runs, ENTRY};

int main(void) {
    say("main", "returns");
    return 7;
}
