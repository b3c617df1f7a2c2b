/* A library whose finaliser takes 20 ms. */
#include <time.h>

__attribute__((destructor)) static void slow_finaliser(void) {
    struct timespec left = {0, 20000000};
    while (nanosleep(&left, &left))
        ;
}
