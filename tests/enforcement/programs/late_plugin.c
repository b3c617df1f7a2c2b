#include "say.h"

static char text[32] = "static data of the plug-in";

__attribute__((destructor)) static void end(void) {
    text[0] = 'S';
    say("plug-in", text);
}
