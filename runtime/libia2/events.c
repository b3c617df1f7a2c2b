#include "events.h"

#include <gnu/libc-version.h>
#include <stdatomic.h>

#include "audit.h"
#include "config.h"
#include "event_line.h"
#include "identify.h"
#include "run.h"
#include "system.h"
#include "takeover.h"
#include "vault.h"
#include "words.h"

static struct ia2_sink trace IA2_LARGE;
static struct ia2_sink diag IA2_LARGE;
static char map_path[PATH_MAX] IA2_LARGE; /* "": no map */
static bool diagnosing;
static _Atomic int process; /* whose events go out: the first process or, when following, each child in turn */
static _Atomic bool ended;

void ia2_event_begin(struct ia2_line *line, const char *event) {
    ia2_line_begin(line, event);
    ia2_line_number(line, "pid", (uint64_t)ia2_getpid());
    ia2_line_number(line, "tid", (uint64_t)ia2_gettid());
    line->started = ia2_now();
    ia2_line_number(line, "t", line->started);
}

/* What the making and writing of a line takes is not charged to the destructor in which it happens. */
void ia2_event_send_to(struct ia2_sink *sink, struct ia2_line *line) {
    bool written = ia2_line_end(line) && ia2_sink_write(sink, line);
    if (!written &&
        ia2_getpid() == atomic_load_explicit(&process, memory_order_relaxed)) { /* not in a child of vfork() */
        ia2_count(&ia2_counters.lost);
    }
    ia2_self()->overhead += ia2_now() - line->started;
}

void ia2_event_send(struct ia2_line *line) { ia2_event_send_to(&trace, line); }

static void put_start(bool forked) {
    static const char *const backends[] = {"none", "mprotect", "pku"};
    static const char *const modes[] = {"observe", "enforce", "contain"};
    struct ia2_line line;
    ia2_event_begin(&line, "start");
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
    ia2_line_string(&line, "backend", ia2_sealed.legacy ? "legacy" : backends[ia2_sealed.backend]);
    ia2_line_string(&line, "backend_why", ia2_sealed.backend_why);
    ia2_line_string(&line, "mode", modes[ia2_sealed.mode]);
    ia2_line_bool(&line, "allow_all", ia2_sealed.allow_all);
    ia2_line_bool(&line, "virtual", ia2_sealed.backend != IA2_BACKEND_PKU);
    ia2_line_string(&line, "map", map_path[0] ? map_path : NULL);
    ia2_line_string(&line, "fini_by", ia2_sealed.legacy ? NULL : ia2_taken_by());
    ia2_line_bool(&line, "audit", ia2_audited());
    ia2_event_send(&line);
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
        if (ia2_sealed.tracing) {
            put_start(true);
        }
    }
    return ia2_config.follow;
}

bool ia2_event_may_write(void) { return ia2_sealed.tracing && is_process(); }

const char *ia2_events_open(void) {
    atomic_store(&process, ia2_getpid());
    const char *wrong = NULL;
    if (ia2_sink_open(&trace, ia2_config.trace) != 0) {
        wrong = ia2_config.trace;
    }
    if (ia2_sink_open(&diag, ia2_config.diag) != 0) {
        wrong = ia2_config.diag;
    }
    ia2_sealed.tracing = trace.open;
    diagnosing = diag.open && !(ia2_sealed.tracing && diag.device == trace.device && diag.inode == trace.inode);
    ia2_sealed.watching = ia2_sealed.tracing || diagnosing;
    return wrong;
}

void ia2_event_start(void) {
    if (ia2_event_may_write()) {
        if (ia2_map_loaded()) {
            ia2_copy(map_path, sizeof map_path, ia2_config.map);
        }
        put_start(false);
    }
}

/* Every event below is called with errno that belongs to the program; nothing here touches it (system.h). */

static void put_status(struct ia2_line *line, int status) {
    if (status == IA2_STATUS_UNKNOWN) {
        ia2_line_null(line, "status");
    } else {
        ia2_line_number(line, "status", (unsigned)status & 0xff); /* what wait() sees of it */
    }
}

void ia2_event_exit(const char *how, int status) {
    if (ia2_event_may_write()) {
        struct ia2_line line;
        ia2_event_begin(&line, "exit");
        ia2_line_string(&line, "how", how);
        put_status(&line, status);
        ia2_event_send(&line);
    }
}

void ia2_event_exec(const char *path, const char *how, bool child) {
    if (!ia2_sealed.tracing) {
        return;
    }
    struct ia2_line line;
    ia2_event_begin(&line, "exec");
    ia2_line_string(&line, "path", path ? path : "");
    ia2_line_string(&line, "how", how);
    ia2_line_bool(&line, "followed", ia2_config.follow);
    ia2_line_bool(&line, "child", child || ia2_getpid() != atomic_load(&process));
    ia2_event_send(&line);
}

void ia2_event_end(const char *how, int status) {
    /* A child of vfork() can only come here by _exit, and must leave its parent's memory alone. */
    bool ours = ia2_equal(how, "_exit") ? ia2_getpid() == atomic_load(&process) : ia2_sealed.watching && is_process();
    if (!ia2_sealed.watching || !ours || atomic_exchange(&ended, true)) {
        return;
    }
    struct ia2_census census;
    ia2_record_census(&census);
    if (diagnosing) {
        ia2_event_counters(&diag, &census);
    }
    if (ia2_sealed.tracing) {
        ia2_event_counters(&trace, &census);
        struct ia2_line line;
        ia2_event_begin(&line, "end");
        ia2_line_string(&line, "how", how);
        put_status(&line, status);
        ia2_event_send(&line);
    }
}

void ia2_complain(const char *what, const char *detail) {
    struct ia2_words words;
    ia2_words_begin(&words, "libia2.so: ");
    ia2_words_text(&words, what);
    if (detail && detail[0]) {
        ia2_words_text(&words, ": ");
        ia2_words_text(&words, detail);
    }
    ia2_words_end(&words);
}
