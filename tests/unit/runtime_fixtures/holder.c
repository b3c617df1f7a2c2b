/* A library that has a function for on_exit, and registers nothing. */
#include <stdlib.h>
#include <unistd.h>

void holder_says(int status, void *argument);
void holder_says(int status, void *argument) {
    (void)status;
    if (!argument || write(1, "holder\n", 7) < 0) {
        abort();
    }
}
