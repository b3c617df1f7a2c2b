/* The first code of the process after ld.so has relocated everything (DF_1_INITFIRST): before every other constructor. */
#include "config.h"
#include "events.h"
#include "identify.h"
#include "map.h"
#include "objects.h"
#include "real.h"
#include "secret.h"
#include "stubs.h"
#include "system.h"

void ia2_nothing(void) {}

/* Registered before anyone else's handler, so run after all of them: nothing but stdio's own end comes later. */
static void last_at_exit(void *unused, int status) {
    (void)unused;
    ia2_event_end("exit", status);
}

static void last_at_quick_exit(void *unused, int status) {
    (void)unused;
    ia2_event_end("quick_exit", status);
}

static void check_settings(void) {
    if (ia2_config.backend[0] && !ia2_equal(ia2_config.backend, "none") && !ia2_equal(ia2_config.backend, "auto")) {
        ia2_complain("IA2_EXIT_BACKEND: expected \"none\" or \"auto\", running with none instead of",
                     ia2_config.backend);
    }
    if (ia2_config.mode[0] && !ia2_equal(ia2_config.mode, "observe")) {
        ia2_complain("IA2_EXIT_MODE: expected \"observe\" (backend none enforces nothing), observing instead of",
                     ia2_config.mode);
    }
}

static void load_map(void) {
    if (ia2_config.map[0]) {
        const char *wrong = ia2_map_load(ia2_config.map);
        if (wrong) {
            ia2_complain(ia2_config.map, wrong);
            ia2_event_fault(wrong, ia2_config.map);
        }
    }
}

static void initialise(int argc, char **argv, char **envp) {
    ia2_first_argument = argc > 0 ? argv[0] : NULL;
    ia2_real_resolve();
    ia2_config_read(envp);
    const char *wrong = ia2_events_open();
    if (wrong) {
        ia2_complain("cannot write events there; give a path, fd:N of an open descriptor, or 1", wrong);
    }
    check_settings();
    ia2_secret_make();
    load_map();
    ia2_event_start();
    ia2_real.cxa_atexit((void (*)(void *))(void *)last_at_exit, NULL, NULL);
    ia2_real.cxa_at_quick_exit((void (*)(void *))(void *)last_at_quick_exit, NULL);
    ia2_objects_sync();
    ia2_ready = true;
}

__attribute__((section(".init_array"), used)) static void (*const start)(int, char **, char **) = initialise;
