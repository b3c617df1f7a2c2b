/* What the event writers share: beginning and sending a line, and the members that several events have. Only for events*.c;
 * callable at any time, from any thread and from signal handlers. */
#ifndef IA2_EVENT_LINE_H
#define IA2_EVENT_LINE_H

#include "line.h"
#include "records.h"
#include "sink.h"
#include "stack.h"

/* Is anybody tracing, and is this the process whose events go out? A followed child says `start` first. */
bool ia2_event_may_write(void);
/* Starts a line with what all events have. */
void ia2_event_begin(struct ia2_line *line, const char *event);
/* Ends the line and writes it to the trace. What making and writing it took is not charged to the running destructor. */
void ia2_event_send(struct ia2_line *line);
void ia2_event_send_to(struct ia2_sink *sink, struct ia2_line *line);
/* `compartment` for each that ran a destructor, and `counters`: as they are now. */
void ia2_event_counters(struct ia2_sink *sink, const struct ia2_census *census);

/* {"address", "object", "rva"} */
void ia2_put_place(struct ia2_line *line, const char *key, uintptr_t address);
/* "record", "generation" */
void ia2_put_identity(struct ia2_line *line, const struct exit_record *record);
/* "registrar", null for a kind that nobody registers */
void ia2_put_registrar(struct ia2_line *line, const struct exit_record *record);
/* "owner", "owner_name" */
void ia2_put_owner(struct ia2_line *line, const struct exit_record *record);
/* The innermost destructor of this thread, or null. */
void ia2_put_running(struct ia2_line *line, const char *key);
/* An array of [slot, "0xrva"], one for each code address: slot 0 and the absolute address where no object is. Before a gap
 * [slot, "0xrva", frames left out, all of the same function?]. The last member of its event: it is shortened until it fits. */
void ia2_put_stack(struct ia2_line *line, const char *key, struct ia2_stack *stack);

extern const char *const ia2_outcome_names[IA2_OUTCOMES];
const char *ia2_kind_name(const struct exit_record *record);

#endif
