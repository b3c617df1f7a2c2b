/* The events: one function for each (src/ia2exit/events.py is the reader, schemas/events.schema.json the contract).
 *
 * All may be called at any time from any thread and from signal handlers; all return at once when tracing is off, and
 * none of them changes errno. */
#ifndef IA2_EVENTS_H
#define IA2_EVENTS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "objects.h"
#include "records.h"

/* Opens the trace and the diagnosis sink, and sets ia2_sealed.tracing and watching. Returns NULL, or what could not be opened, for a line on standard error.
 * Only from the constructor. */
const char *ia2_events_open(void);

void ia2_event_start(void);
void ia2_event_object(uint32_t slot, const char *when);
void ia2_event_register(const struct exit_record *record);
void ia2_event_enter(const struct exit_record *record, uint64_t sequence, uint32_t before, bool known, uint32_t wanted,
                     const char *unenforced);
void ia2_event_leave(const struct exit_record *record, uint64_t sequence, uint64_t ns, uint32_t after);
void ia2_event_fallback(const struct exit_record *record, uint64_t sequence);
void ia2_event_fault(const char *what, const char *detail);
/* A deadly signal that the runtime's handler got, with the running destructor and the stack. what NULL: the signal's name in words.
 */
void ia2_event_fault_signal(const char *what, int signal, const siginfo_t *info, const ucontext_t *context);
/* A hang: what this thread was doing, and with ia2_event_stack() each other one. */
void ia2_event_timeout(const char *detail, const ucontext_t *context);
void ia2_event_stack(const ucontext_t *context);
void ia2_event_exit(const char *how, int status);
void ia2_event_exec(const char *path, const char *how, bool child);
/* The last two lines, `counters` and `end`; once in a process. */
void ia2_event_end(const char *how, int status);

/* What the runtime has to say to the user where no event can: one line on standard error. */
void ia2_complain(const char *what, const char *detail);

#endif
