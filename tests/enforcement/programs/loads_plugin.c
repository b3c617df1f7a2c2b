/* plugin.so: comes and goes. */
#include "loads.h"

#include <stdlib.h>

#include "say.h"

static char own[64] = "own";
static char *aimed;

void plugin_aim(char *other) { aimed = other; }

__attribute__((constructor)) static void plugin_begins(void) {
    own[0] = 'O';
    say("plugin begins", own);
}

static void plugin_atexit(void) {
    own[1] = 'W';
    if (aimed != NULL)
        *(volatile char *)aimed = '!';
    say("plugin atexit", own);
}

int plugin_register(void) { return atexit(plugin_atexit) == 0 ? 0 : -1; }

__attribute__((destructor)) static void plugin_fini(void) {
    own[2] = 'N';
    say("plugin fini", own);
}
