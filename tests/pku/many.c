/* Many destructors whose owners alternate, between a first and a last one that write a line: `many NUMBER`. */
#include <stdlib.h>

#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static void begin(void) { rights_say("begin"); }
static void end(void) { rights_say("end"); }

int main(int argc, char **argv) {
    CHECK(argc == 2);
    CHECK(atexit(end) == 0);
    for (int i = atoi(argv[1]); i > 0; i -= 2) {
        a_register_quiet();
        b_register_quiet();
    }
    CHECK(atexit(begin) == 0);
    return 3;
}
