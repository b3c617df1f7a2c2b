#include "events.h"

#include <gnu/libc-version.h>
#include <stdatomic.h>

#include "config.h"
#include "identify.h"
#include "line.h"
#include "run.h"
#include "sink.h"
#include "system.h"

bool ia2_tracing;
bool ia2_watching;

static struct ia2_sink trace;
static struct ia2_sink diag;
static char map_path[PATH_MAX]; /* "": no map */
static bool diagnosing;
static _Atomic int process; /* whose events go out: the first process or, when following, each child in turn */
static _Atomic bool ended;

static void begin(struct ia2_line *line, const char *event) {
    ia2_line_begin(line, event);
    ia2_line_number(line, "pid", (uint64_t)ia2_getpid());
    ia2_line_number(line, "tid", (uint64_t)ia2_gettid());
    line->started = ia2_now();
    ia2_line_number(line, "t", line->started);
}

/* What the making and writing of a line takes is not charged to the destructor in which it happens. */
static void send(struct ia2_sink *sink, struct ia2_line *line) {
    bool written = ia2_line_end(line) && ia2_sink_write(sink, line);
    if (!written &&
        ia2_getpid() == atomic_load_explicit(&process, memory_order_relaxed)) { /* not in a child of vfork() */
        ia2_count(&ia2_counters.lost);
    }
    ia2_thread.overhead += ia2_now() - line->started;
}

static void put_start(bool forked) {
    struct ia2_line line;
    begin(&line, "start");
    ia2_line_number(&line, "version", 1);
    ia2_line_string(&line, "runtime", IA2_VERSION_STRING);
    char path[PATH_MAX];
    if (!ia2_program_path(path, sizeof path)) {
        path[0] = '\0';
    }
    ia2_line_string(&line, "program", path);
    ia2_line_number(&line, "ppid", (uint64_t)ia2_getppid());
    ia2_line_bool(&line, "forked", forked);
    ia2_line_string(&line, "glibc", gnu_get_libc_version());
    ia2_line_string(&line, "backend", "none");
    ia2_line_string(&line, "mode", "observe");
    ia2_line_bool(&line, "virtual", true);
    ia2_line_string(&line, "map", map_path[0] ? map_path : NULL);
    send(&trace, &line);
}

/* Is this the process whose events go out? A child that was forked becomes it when children are followed, and says so first.
 * Not asked on the way of exec and _exit, where a child of vfork() would change its parent's memory. */
static bool is_process(void) {
    int self = ia2_getpid();
    if (self == atomic_load_explicit(&process, memory_order_relaxed)) {
        return true;
    }
    if (ia2_config.follow) {
        atomic_store(&process, self);
        atomic_store(&ended, false);
        ia2_sink_inherit(&trace);
        ia2_sink_inherit(&diag);
        if (ia2_tracing) {
            put_start(true);
        }
    }
    return ia2_config.follow;
}

static bool may_write(void) { return ia2_tracing && is_process(); }

const char *ia2_events_open(void) {
    atomic_store(&process, ia2_getpid());
    const char *wrong = NULL;
    if (ia2_sink_open(&trace, ia2_config.trace) != 0) {
        wrong = ia2_config.trace;
    }
    if (ia2_sink_open(&diag, ia2_config.diag) != 0) {
        wrong = ia2_config.diag;
    }
    ia2_tracing = trace.open;
    diagnosing = diag.open && !(ia2_tracing && diag.device == trace.device && diag.inode == trace.inode);
    ia2_watching = ia2_tracing || diagnosing;
    return wrong;
}

void ia2_event_start(void) {
    if (may_write()) {
        if (ia2_map_loaded()) {
            ia2_copy(map_path, sizeof map_path, ia2_config.map);
        }
        put_start(false);
    }
}

/* Every event below is called with errno that belongs to the program; nothing here touches it (system.h). */

static void put_place(struct ia2_line *line, const char *key, uintptr_t address) {
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

static const char *kind_name(const struct exit_record *record) {
    static const char *const names[] = {"?",       "fini_array", "fini",          "cxa_atexit", "atexit",
                                        "on_exit", "quick_exit", "thread_atexit", "pthread_key"};
    return names[record->kind < sizeof names / sizeof *names ? record->kind : 0];
}

static void put_identity(struct ia2_line *line, const struct exit_record *record) {
    ia2_line_number(line, "record", ia2_record_place(record));
    ia2_line_number(line, "generation", ia2_record_generation(record));
}

static void put_record(struct ia2_line *line, const struct exit_record *record) {
    put_identity(line, record);
    ia2_line_string(line, "kind", kind_name(record));
    put_place(line, "function", record->function);
    uint32_t slot = ia2_record_dso(record) ? ia2_object_at(ia2_record_dso(record))
                                           : IA2_NO_OBJECT; /* a non-PIE program may give 0 */
    ia2_line_string(line, "dso", slot ? ia2_object(slot)->path : NULL);
    if (ia2_record_registrar(record)) {
        put_place(line, "registrar", record->registrar);
    } else {
        ia2_line_null(line, "registrar");
    }
    if (record->owner == IA2_NO_OWNER) {
        ia2_line_null(line, "owner");
        ia2_line_null(line, "owner_name");
    } else {
        ia2_line_number(line, "owner", record->owner);
        ia2_line_string(line, "owner_name", ia2_compartment_name(record->owner));
    }
    ia2_line_bool(line, "foreign", (record->flags & IA2_FOREIGN) != 0);
    ia2_line_bool(line, "vague", (record->flags & IA2_VAGUE) != 0);
}

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
    if (!may_write()) {
        return;
    }
    const struct ia2_object *object = ia2_object(slot);
    struct ia2_line line;
    begin(&line, "object");
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
    ia2_line_string(&line, "when", when);
    send(&trace, &line);
}

void ia2_event_register(const struct exit_record *record) {
    if (may_write()) {
        struct ia2_line line;
        begin(&line, "register");
        put_record(&line, record);
        send(&trace, &line);
    }
}

static const char *moment_of(const struct exit_record *record) {
    bool at_thread_end = record->kind == IA2_EXIT_THREAD_ATEXIT || record->kind == IA2_EXIT_PTHREAD_KEY;
    if (ia2_thread.unloading) {
        return "unload"; /* the nearest cause, even where an exit handler unloads something */
    }
    return ia2_exiting() ? "exit" : at_thread_end ? "thread-end" : "unload";
}

void ia2_event_enter(const struct exit_record *record, uint64_t sequence, uint32_t before, bool known,
                     uint32_t wanted) {
    if (!may_write()) {
        return;
    }
    struct ia2_line line;
    begin(&line, "enter");
    ia2_line_number(&line, "seq", sequence);
    put_record(&line, record);
    ia2_line_number(&line, "depth", ia2_thread.depth);
    ia2_line_string(&line, "moment", moment_of(record));
    ia2_line_hex(&line, "pkru_before", before);
    if (known) {
        ia2_line_hex(&line, "pkru_wanted", wanted);
    } else {
        ia2_line_null(&line, "pkru_wanted");
    }
    send(&trace, &line);
}

void ia2_event_leave(const struct exit_record *record, uint64_t sequence, uint64_t ns, uint32_t after) {
    if (!may_write()) {
        return;
    }
    struct ia2_line line;
    begin(&line, "leave");
    ia2_line_number(&line, "seq", sequence);
    put_identity(&line, record);
    ia2_line_number(&line, "ns", ns);
    ia2_line_hex(&line, "pkru_after", after);
    send(&trace, &line);
}

void ia2_event_fallback(const struct exit_record *record, uint64_t sequence) {
    if (!may_write()) {
        return;
    }
    struct ia2_line line;
    begin(&line, "fallback");
    ia2_line_number(&line, "seq", sequence);
    put_identity(&line, record);
    ia2_line_string(&line, "kind", kind_name(record));
    put_place(&line, "function", record->function);
    ia2_line_string(&line, "why",
                    "neither its dso_handle, nor its function, nor its registrar lies in a loaded object");
    ia2_line_string(&line, "remedy", "register it with the __dso_handle of the object that owns its data");
    send(&trace, &line);
}

void ia2_event_fault(const char *what, const char *detail) {
    if (may_write()) {
        struct ia2_line line;
        begin(&line, "fault");
        ia2_line_string(&line, "what", what);
        ia2_line_string(&line, "detail", detail ? detail : "");
        send(&trace, &line);
    }
}

static void put_status(struct ia2_line *line, int status) {
    if (status == IA2_STATUS_UNKNOWN) {
        ia2_line_null(line, "status");
    } else {
        ia2_line_number(line, "status", (unsigned)status & 0xff); /* what wait() sees of it */
    }
}

void ia2_event_exit(const char *how, int status) {
    if (may_write()) {
        struct ia2_line line;
        begin(&line, "exit");
        ia2_line_string(&line, "how", how);
        put_status(&line, status);
        send(&trace, &line);
    }
}

void ia2_event_exec(const char *path, const char *how, bool child) {
    if (!ia2_tracing) {
        return;
    }
    struct ia2_line line;
    begin(&line, "exec");
    ia2_line_string(&line, "path", path ? path : "");
    ia2_line_string(&line, "how", how);
    ia2_line_bool(&line, "followed", ia2_config.follow);
    ia2_line_bool(&line, "child", child || ia2_getpid() != atomic_load(&process));
    send(&trace, &line);
}

static uint64_t value(_Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

static void put_counters(struct ia2_sink *sink) {
    struct ia2_line line;
    begin(&line, "counters");
    struct ia2_census census;
    ia2_record_census(&census);
    uint64_t ran = census.ran + value(&ia2_counters.ran);
    uint64_t fallback = value(&ia2_counters.fallback);
    ia2_line_number(&line, "registered", census.registered + value(&ia2_counters.registered));
    ia2_line_number(&line, "ran", ran);
    ia2_line_number(&line, "success", ran - fallback);
    ia2_line_number(&line, "fallback", fallback);
    ia2_line_number(&line, "violation", 0);
    ia2_line_number(&line, "contained", 0);
    ia2_line_number(&line, "unenforced", 0);
    ia2_line_number(&line, "bypassed", value(&ia2_counters.bypassed));
    ia2_line_number(&line, "unknown", value(&ia2_counters.unknown));
    ia2_line_number(&line, "foreign", value(&ia2_counters.foreign));
    ia2_line_number(&line, "vague", value(&ia2_counters.vague));
    ia2_line_number(&line, "bystander", 0);
    ia2_line_number(&line, "left", census.live);
    ia2_line_number(&line, "lost", value(&ia2_counters.lost));
    send(sink, &line);
}

void ia2_event_end(const char *how, int status) {
    /* A child of vfork() can only come here by _exit, and must leave its parent's memory alone. */
    bool ours = ia2_equal(how, "_exit") ? ia2_getpid() == atomic_load(&process) : ia2_watching && is_process();
    if (!ia2_watching || !ours || atomic_exchange(&ended, true)) {
        return;
    }
    if (diagnosing) {
        put_counters(&diag);
    }
    if (ia2_tracing) {
        put_counters(&trace);
        struct ia2_line line;
        begin(&line, "end");
        ia2_line_string(&line, "how", how);
        put_status(&line, status);
        send(&trace, &line);
    }
}

void ia2_complain(const char *what, const char *detail) {
    char text[1024];
    size_t used = 0;
    const char *parts[] = {"libia2.so: ", what, ": ", detail, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (const char *at = parts[i]; *at && used < sizeof text - 1; at++) {
            text[used++] = *at;
        }
    }
    text[used - 1] = '\n';
    ia2_syscall3(SYS_write, 2, (long)text, (long)used);
}
