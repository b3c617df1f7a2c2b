/* The end of a process in which something that only the runtime writes has been changed. */
#ifndef IA2_TAMPER_H
#define IA2_TAMPER_H

/* Says what was changed, on standard error and as an event `fault`, and ends the process. Any time, any thread, signal handlers. */
_Noreturn void ia2_tampered(const char *what, const char *detail);

#endif
