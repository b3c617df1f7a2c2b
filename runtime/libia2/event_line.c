#include "event_line.h"

#include "objects.h"
#include "run.h"

void ia2_put_place(struct ia2_line *line, const char *key, uintptr_t address) {
    uint32_t slot = ia2_object_at(address);
    ia2_line_open(line, key);
    ia2_line_hex(line, "address", address);
    if (slot) {
        ia2_line_string(line, "object", ia2_object(slot)->path);
        ia2_line_hex(line, "rva", address - ia2_object(slot)->base);
    } else {
        ia2_line_null(line, "object");
        ia2_line_null(line, "rva");
    }
    ia2_line_close(line);
}

void ia2_put_stack(struct ia2_line *line, const char *key, struct ia2_stack *stack) {
    const size_t entry = sizeof ",[4095,\"0x0123456789abcdef\"]" - 1;
    const size_t others = sizeof ",1048576,false]}\n" - 1; /* the gap, the end */
    ia2_line_list(line, key);
    const size_t room = ia2_line_room(line);
    ia2_stack_shorten(stack, room < others ? 0 : (room - others) / entry);
    for (size_t i = 0; i < stack->count; i++) {
        uint32_t slot = ia2_object_at(stack->frames[i]);
        ia2_line_list(line, NULL);
        ia2_line_number(line, NULL, slot);
        ia2_line_hex(line, NULL, stack->frames[i] - (slot ? ia2_object(slot)->base : 0));
        if (i + 1 == stack->inner && stack->left_out > 0) {
            ia2_line_number(line, NULL, stack->left_out);
            ia2_line_bool(line, NULL, stack->alike);
        }
        ia2_line_end_list(line);
    }
    ia2_line_end_list(line);
}

const char *ia2_kind_name(const struct exit_record *record) {
    static const char *const names[] = {"?",       "fini_array", "fini",          "cxa_atexit", "atexit",
                                        "on_exit", "quick_exit", "thread_atexit", "pthread_key"};
    return names[record->kind < sizeof names / sizeof *names ? record->kind : 0];
}

void ia2_put_identity(struct ia2_line *line, const struct exit_record *record) {
    const struct exit_record *original = ia2_record_original(record);
    ia2_line_number(line, "record", ia2_record_place(original));
    ia2_line_number(line, "generation", ia2_record_generation(original));
}

void ia2_put_registrar(struct ia2_line *line, const struct exit_record *record) {
    if (ia2_record_registrar(record)) {
        ia2_put_place(line, "registrar", ia2_record_registrar(record));
    } else {
        ia2_line_null(line, "registrar");
    }
}

void ia2_put_owner(struct ia2_line *line, const struct exit_record *record) {
    if (record->owner == IA2_NO_OWNER) {
        ia2_line_null(line, "owner");
        ia2_line_null(line, "owner_name");
    } else {
        ia2_line_number(line, "owner", record->owner);
        ia2_line_string(line, "owner_name", ia2_compartment_name(record->owner));
    }
}

void ia2_put_running(struct ia2_line *line, const char *key) {
    struct ia2_running now;
    if (!ia2_running(&now)) {
        ia2_line_null(line, key);
        return;
    }
    ia2_line_open(line, key);
    ia2_line_number(line, "seq", now.sequence);
    ia2_put_identity(line, now.record);
    ia2_line_string(line, "kind", ia2_kind_name(now.record));
    ia2_put_place(line, "function", now.record->function);
    ia2_put_registrar(line, now.record);
    ia2_put_owner(line, now.record);
    ia2_line_close(line);
}
