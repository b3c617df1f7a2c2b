#include "late.h"

char late_text[32] = "static data of the library\n";

void late_touch(void) { late_text[0] = 's'; }

__attribute__((destructor)) static void end(void) { late_text[1] = 't'; }
