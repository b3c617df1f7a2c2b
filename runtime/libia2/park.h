/* Stopping the other threads for the exit phase (IA2_EXIT_PARK_THREADS): for those who know that no destructor waits for them. */
#ifndef IA2_PARK_H
#define IA2_PARK_H

#include <stdbool.h>

/* Stops every other thread of the process. Returns false, with all of them running, where one does not stop within a second. */
bool ia2_park_others(void);
bool ia2_others_are_parked(void);
void ia2_unpark_others(void);

#endif
