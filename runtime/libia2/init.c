/* The first code of the process after ld.so has relocated everything (DF_1_INITFIRST): before every other constructor. */
#include "audit.h"
#include "backend.h"
#include "config.h"
#include "events.h"
#include "gate.h"
#include "glibc.h"
#include "identify.h"
#include "map.h"
#include "objects.h"
#include "patched.h"
#include "records.h"
#include "run.h"
#include "sealed.h"
#include "secret.h"
#include "stubs.h"
#include "system.h"
#include "words.h"

void ia2_nothing(void) {}

static void end(const char *how, int status) {
    uint32_t before = ia2_gate_open();
    ia2_exit_end();
    const bool held = ia2_objects_hold(); /* other threads may load and unload to the very end */
    ia2_event_end(how, status);
    if (held) {
        ia2_objects_release();
    }
    ia2_gate_close(before);
}

/* Registered before anyone else's handler, so run after all of them: nothing but stdio's own end comes later. */
static void last_at_exit(void *unused, int status) {
    (void)unused;
    end("exit", status);
}

static void last_at_quick_exit(void *unused, int status) {
    (void)unused;
    end("quick_exit", status);
}

/* What was asked for cannot be had, and running without it would be running unprotected. */
static _Noreturn void refuse(const char *what, const char *why) {
    ia2_complain(what, why);
    for (;;) {
        ia2_syscall1(SYS_exit_group, 2);
    }
}

static bool must_enforce(void) {
    return ia2_config.mode[0] ? !ia2_equal(ia2_config.mode, "observe") : ia2_config.map[0] != '\0';
}

/* Where it is not known, the program runs without us, or not at all. */
static bool knows_glibc(void) {
    struct ia2_words found;
    if (ia2_glibc_known(&found)) {
        return true;
    }
    if (must_enforce()) {
        refuse(ia2_words_string(&found), "nothing can be enforced here");
    }
    ia2_complain(ia2_words_string(&found), "the program runs without us");
    return false;
}

static void choose_mode(void) {
    static const char *const names[] = {"observe", "enforce", "contain"};
    const char *wanted = ia2_config.mode;
    if (!wanted[0]) {
        ia2_sealed.mode = ia2_map_loaded() ? IA2_ENFORCE : IA2_OBSERVE;
        return;
    }
    for (uint8_t mode = 0; mode < 3; mode++) {
        if (ia2_equal(wanted, names[mode])) {
            ia2_sealed.mode = mode;
            return;
        }
    }
    refuse("IA2_EXIT_MODE: expected observe, enforce or contain, not", wanted);
}

static void choose_backend(const char *map_error) {
    const char *wanted = ia2_config.backend;
    bool asked = wanted[0] != '\0' && !ia2_equal(wanted, "auto");
    if (asked && !ia2_equal(wanted, "none") && !ia2_equal(wanted, "mprotect") && !ia2_equal(wanted, "pku")) {
        refuse("IA2_EXIT_BACKEND: expected auto, pku, mprotect or none, not", wanted);
    }
    if (ia2_sealed.mode != IA2_OBSERVE && map_error) {
        refuse("IA2_EXIT_MODE asks for enforcement, but the exit map cannot be used", map_error);
    }
    if (ia2_sealed.mode != IA2_OBSERVE && ia2_equal(wanted, "none")) {
        refuse("IA2_EXIT_BACKEND=none closes nothing, so nothing can be enforced", "write mprotect, pku or auto");
    }
    if (!asked && ia2_sealed.mode == IA2_OBSERVE && !ia2_sealed.watching) {
        wanted = "none"; /* nobody would learn of what is observed */
    }
    const char *wrong = ia2_backend_choose(wanted);
    if (wrong) {
        refuse("IA2_EXIT_BACKEND=pku cannot be had", wrong);
    }
}

static const char *load_map(void) {
    const char *wrong = ia2_config.map[0] ? ia2_map_load(ia2_config.map) : NULL;
    if (wrong) {
        ia2_complain(ia2_config.map, wrong);
    }
    return wrong;
}

/* Less can be done than was asked for, and nothing that was promised depends on it. */
static void lost(const char *what, const char *why) {
    ia2_complain(what, why);
    ia2_event_fault(what, why);
}

static void start_covered(void) {
    if (ia2_config.map[0]) {
        ia2_secret_make();
    }
    const char *map_error = load_map();
    choose_mode();
    ia2_sealed.allow_all = ia2_config.allow_all;
    ia2_sealed.park = ia2_config.park;
    ia2_patched_take();
    ia2_objects_sync(); /* quietly: events come when it is known what can be done */
    choose_backend(map_error);
    if (ia2_sealed.enforcing) {
        if (!ia2_config.map[0]) {
            ia2_secret_make();
        }
        ia2_records_seal_all();
    }
    ia2_event_start();
    if (ia2_config.audit && !ia2_audited()) {
        lost("libia2_audit.so does not answer",
             "objects that come by dlopen are learnt of late, those of dlmopen never; "
             "name it in LD_AUDIT, from the same build as libia2.so");
    }
    if (map_error) {
        ia2_event_fault(map_error, ia2_config.map);
    }
    ia2_objects_announce();
    ia2_sealed.real.cxa_atexit((void (*)(void *))(void *)last_at_exit, NULL, NULL);
    ia2_sealed.real.cxa_at_quick_exit((void (*)(void *))(void *)last_at_quick_exit, NULL);
    ia2_sealed.ready = true;
}

static void start_legacy(void) {
    ia2_sealed.legacy = true;
    ia2_event_start();
    ia2_complain("IA2_EXIT_FORCE_LEGACY=1", "nothing is recorded, and exit drops all protection");
}

static void initialise(int argc, char **argv, char **envp) {
    ia2_first_argument = argc > 0 ? argv[0] : NULL;
    ia2_words_remember();
    ia2_real_resolve();
    ia2_config_read(envp);
    if (!ia2_config.legacy && !knows_glibc()) {
        return;
    }
    const char *wrong = ia2_events_open();
    if (wrong) {
        ia2_complain("cannot write events there; give a path, fd:N of an open descriptor, or 1", wrong);
    }
    if (ia2_config.legacy) {
        start_legacy();
    } else {
        start_covered();
    }
    if (ia2_sealed.enforcing) {
        ia2_seal();
    }
    if (ia2_sealed.runtime_bits) {
        ia2_gate_close(ia2_rdpkru() | ia2_sealed.runtime_bits); /* the key was open when it was new */
    }
}

__attribute__((section(".init_array"), used)) static void (*const start)(int, char **, char **) = initialise;
