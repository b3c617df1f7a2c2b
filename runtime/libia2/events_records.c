/* The events of one record: register, enter, leave, fallback. */
#include "event_line.h"
#include "events.h"
#include "run.h"

static void put_record(struct ia2_line *line, const struct exit_record *record) {
    ia2_put_identity(line, record);
    ia2_line_string(line, "kind", ia2_kind_name(record));
    ia2_put_place(line, "function", record->function);
    uint32_t slot = ia2_record_dso(record) ? ia2_object_at(ia2_record_dso(record))
                                           : IA2_NO_OBJECT; /* a non-PIE program may give 0 */
    ia2_line_string(line, "dso", slot ? ia2_object(slot)->path : NULL);
    ia2_put_registrar(line, record);
    ia2_put_owner(line, record);
    ia2_line_bool(line, "foreign", (record->flags & IA2_FOREIGN) != 0);
    ia2_line_bool(line, "vague", (record->flags & IA2_VAGUE) != 0);
}

void ia2_event_register(const struct exit_record *record) {
    if (ia2_event_may_write()) {
        struct ia2_line line;
        ia2_event_begin(&line, "register");
        put_record(&line, record);
        ia2_event_send(&line);
    }
}

static const char *moment_of(const struct exit_record *record) {
    bool at_thread_end = record->kind == IA2_EXIT_THREAD_ATEXIT || record->kind == IA2_EXIT_PTHREAD_KEY;
    if (ia2_self()->unloading) {
        return "unload"; /* the nearest cause, even where an exit handler unloads something */
    }
    return ia2_self()->exits ? "exit" : at_thread_end ? "thread-end" : "unload";
}

void ia2_event_enter(const struct exit_record *record, uint64_t sequence, uint32_t before, bool known, uint32_t wanted,
                     const char *unenforced) {
    if (!ia2_event_may_write()) {
        return;
    }
    struct ia2_line line;
    ia2_event_begin(&line, "enter");
    ia2_line_number(&line, "seq", sequence);
    put_record(&line, record);
    ia2_line_number(&line, "depth", ia2_self()->depth - 1u);
    ia2_line_string(&line, "moment", moment_of(record));
    ia2_line_hex(&line, "pkru_before", before);
    if (known) {
        ia2_line_hex(&line, "pkru_wanted", wanted);
    } else {
        ia2_line_null(&line, "pkru_wanted");
    }
    ia2_line_string(&line, "unenforced", unenforced);
    ia2_event_send(&line);
}

void ia2_event_leave(const struct exit_record *record, uint64_t sequence, uint64_t ns, uint32_t after) {
    if (!ia2_event_may_write()) {
        return;
    }
    struct ia2_line line;
    ia2_event_begin(&line, "leave");
    ia2_line_number(&line, "seq", sequence);
    ia2_put_identity(&line, record);
    ia2_line_string(&line, "outcome", ia2_outcome_names[record->outcome]);
    ia2_line_number(&line, "ns", ns);
    ia2_line_hex(&line, "pkru_after", after);
    ia2_event_send(&line);
}

void ia2_event_fallback(const struct exit_record *record, uint64_t sequence) {
    if (!ia2_event_may_write()) {
        return;
    }
    struct ia2_line line;
    ia2_event_begin(&line, "fallback");
    ia2_line_number(&line, "seq", sequence);
    ia2_put_identity(&line, record);
    ia2_line_string(&line, "kind", ia2_kind_name(record));
    ia2_put_place(&line, "function", record->function);
    ia2_line_string(&line, "why",
                    "neither its dso_handle, nor its function, nor its registrar lies in a loaded object");
    ia2_line_string(&line, "remedy", "register it with the __dso_handle of the object that owns its data");
    ia2_event_send(&line);
}
