/* libintruder.so: a destructor that writes into another's memory, and one that starts another's thread. */
#ifndef ENFORCEMENT_INTRUDER_H
#define ENFORCEMENT_INTRUDER_H

/* Runs at exit: writes '!' to `secret`. */
void intruder_writes(char *secret);

/* Runs at exit: says that it had its turn. */
void intruder_idles(void);

/* Runs at exit: calls `function` and says what it returns. */
void intruder_calls(int (*function)(void));

/* Runs at exit: starts a thread with another object's function, and waits for its end unless `leave` is set. */
void intruder_starts(void *(*function)(void *), void *argument, int leave);

/* Runs when the calling thread ends: writes '!' to `secret`. */
void intruder_writes_at_thread_end(char *secret);

#endif
