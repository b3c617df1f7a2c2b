/* The program's own account of what happened: one line for each registration and for each destructor that runs.
 *
 * Each line is composed on the stack and written by one write(2), without stdio and malloc: callable at any time,
 * from a destructor, a signal handler or a thread that ends. It goes to the descriptor that the environment
 * variable DL_DEBUG_LOG_FD names, else to standard output. Implemented by a library of its own, which is shared,
 * so that every destructor may use it with only its owner's memory open.
 *
 * Where DL_DEBUG_RIGHTS_FD names a descriptor, each destructor that runs also writes there which compartments' memory
 * the processor would let it write to at that moment: `FUNCTION pkru=HEX open=1,2`. */
#ifndef DL_DEBUG_LOG_H
#define DL_DEBUG_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* A word of an object's own memory, of that compartment: what log_ran tells the rights to. It stays where it is mapped, or
 * goes with its object. */
void log_owns(int compartment, const void *memory);

/* `register kind=KIND function=FUNCTION result=RESULT`: a registration function returned RESULT. */
void log_registered(const char *kind, const char *function, int result);

/* `run kind=KIND function=FUNCTION` and, unless `what` is NULL, ` WHAT=VALUE`: a destructor runs. */
void log_ran(const char *kind, const char *function, const char *what, long value);

/* `step WHAT=VALUE`: anything else that a run with the runtime must do as a run without it does. */
void log_step(const char *what, long value);

#ifdef __cplusplus
}
#endif

#endif
