/* The threads of this process, as the kernel lists them. Any time, signal handlers. */
#ifndef IA2_TASKS_H
#define IA2_TASKS_H

#include <stdbool.h>

/* A descriptor of the list; negative where it cannot be had. The caller closes it. */
long ia2_tasks_open(void);
/* Sends `signal` to every thread in the list but the caller. Returns to how many. */
unsigned ia2_tasks_signal_others(long folder, int signal);
/* Has the process's first thread ended, while others go on? It stays in the list. */
bool ia2_tasks_first_is_gone(void);
/* How many there are but the caller. */
unsigned ia2_tasks_count_others(long folder);

#endif
