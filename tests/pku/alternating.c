/* Destructors of two compartments by turns, each a marker and nothing else; SIGUSR1 tells steps.c when it is time to count. */
#include <signal.h>
#include <stdlib.h>

#include "ia2_exit_note.h"
#include "library.h"
#include "marker.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static void mark(void) { MARK(); }

int main(void) {
    for (int i = 0; i < 4; i++) {
        CHECK(atexit(mark) == 0);
        a_register_mark();
    }
    CHECK(raise(SIGUSR1) == 0);
    return 3;
}
