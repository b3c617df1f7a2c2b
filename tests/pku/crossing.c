/* A destructor of `a` touches the data of `b`: what becomes of the register, in it and after it. `crossing SCENARIO` */
#include <stdlib.h>
#include <string.h>

#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static volatile int own;

static void main_at_exit(void) { CHECK_OWN(main_at_exit, &own); }

/* Code of main with the rights of `a`. */

static void writes(void) {
    b_data = 2;
    rights_tell("after_touch", (uintptr_t)writes, (const void *)&b_data);
}

static void reads(void) {
    CHECK(b_data != 0);
    rights_tell("after_touch", (uintptr_t)reads, (const void *)&b_data);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    b_register();
    CHECK(atexit(main_at_exit) == 0);
    a_register();
    a_register_free_action(strcmp(argv[1], "write") == 0 ? writes : reads);
    return 3;
}
