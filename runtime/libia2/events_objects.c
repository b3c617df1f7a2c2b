/* The event of one object. */
#include "event_line.h"
#include "events.h"

static void put_build_id(struct ia2_line *line, const struct ia2_object *object) {
    char text[2 * IA2_MAP_BUILD_ID + 1];
    uint32_t length = 0;
    for (uint32_t i = 0; i < object->build_id_size; i++) {
        text[length++] = "0123456789abcdef"[object->build_id[i] >> 4];
        text[length++] = "0123456789abcdef"[object->build_id[i] & 15];
    }
    text[length] = '\0';
    ia2_line_string(line, "build_id", length ? text : NULL);
}

void ia2_event_object(uint32_t slot, const char *when) {
    static const char *const decided[] = {"unlisted", "default", "note", "map"};
    if (!ia2_event_may_write()) {
        return;
    }
    const struct ia2_object *object = ia2_object(slot);
    struct ia2_line line;
    ia2_event_begin(&line, "object");
    ia2_line_number(&line, "slot", slot);
    ia2_line_string(&line, "path", object->path);
    put_build_id(&line, object);
    ia2_line_hex(&line, "base", object->base);
    ia2_line_hex(&line, "start", object->start);
    ia2_line_hex(&line, "end", object->end);
    ia2_line_number(&line, "compartment", object->compartment);
    ia2_line_string(&line, "compartment_name", ia2_compartment_name(object->compartment));
    ia2_line_string(&line, "decided_by", decided[object->decided_by]);
    ia2_line_bool(&line, "covered", !object->uncovered);
    ia2_line_string(&line, "why_not", object->why_not);
    ia2_line_number(&line, "entries", object->entry_count);
    ia2_line_number(&line, "namespace", (uint64_t)object->space);
    ia2_line_string(&line, "when", when);
    ia2_event_send(&line);
}
