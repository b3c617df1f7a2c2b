/* The moments at which destructors run: the end of main, exit and its relatives, dlclose. */
#include <unistd.h>

#include "backend.h"
#include "events.h"
#include "gate.h"
#include "legacy.h"
#include "objects.h"
#include "run.h"
#include "sealed.h"

static int (*program_main)(int, char **, char **);

static void begin_exit(enum ia2_exit_how how, int status) {
    uint32_t before = ia2_gate_open();
    if (how == IA2_EXIT_CALL) {
        struct ia2_thread *thread = ia2_self();
        thread->unloading = thread->finalising = 0; /* a dlclose that led here never ends */
    }
    ia2_exit_begin(how, status);
    ia2_gate_close(before);
}

static int main_then_exit(int argc, char **argv, char **envp) {
    uint32_t before = ia2_gate_open();
    int (*of_program)(int, char **, char **) = program_main;
    ia2_gate_close(before);
    int status = of_program(argc, argv, envp);
    if (ia2_sealed.legacy) {
        ia2_legacy_exit("main", status);
    } else {
        begin_exit(IA2_EXIT_MAIN, status);
    }
    return status;
}

/* The end of main leads to an exit inside libc that nobody can stand in front of, so we stand around main. */
IA2_PUBLIC int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                                 void (*fini)(void), void (*rtld_fini)(void), void *stack_end);

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
    ia2_real_resolve();
    uint32_t before = ia2_gate_open();
    program_main = main;
    ia2_gate_close(before);
    return ia2_sealed.real.libc_start_main(ia2_sealed.ready || ia2_sealed.legacy ? main_then_exit : main, argc, argv,
                                           init, fini, rtld_fini, stack_end);
}

IA2_PUBLIC void exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        begin_exit(IA2_EXIT_CALL, status);
    } else if (ia2_sealed.legacy) {
        ia2_legacy_exit("exit", status);
    }
    ia2_sealed.real.exit(status);
}

IA2_PUBLIC void quick_exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        begin_exit(IA2_EXIT_QUICK, status);
    } else if (ia2_sealed.legacy) {
        ia2_legacy_exit("quick_exit", status);
    }
    ia2_sealed.real.quick_exit(status);
}

/* No destructor runs here, and that is worth a line: what was registered is left undone. */
IA2_PUBLIC void _exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        uint32_t before = ia2_gate_open();
        ia2_event_end("_exit", status);
        ia2_gate_close(before);
    }
    ia2_sealed.real.underscore_exit(status);
}

IA2_PUBLIC void _Exit(int status) { _exit(status); }

static void begin_unload(void) {
    uint32_t before = ia2_gate_open();
    ia2_objects_sync();
    ia2_self()->unloading++;
    ia2_gate_close(before);
}

static void end_unload(void) {
    uint32_t before = ia2_gate_open();
    struct ia2_thread *thread = ia2_self();
    if (thread->unloading > 0) { /* an exit in between has set it to 0 */
        thread->unloading--;
    }
    ia2_objects_sync();
    ia2_close_when_idle(thread);
    ia2_gate_close(before);
}

/* An object that is unloaded must be known before its destructors run, and forgotten afterwards. */
IA2_PUBLIC int dlclose(void *handle) {
    ia2_real_resolve();
    if (!ia2_sealed.ready) {
        return ia2_sealed.real.dlclose(handle);
    }
    begin_unload();
    int result = ia2_sealed.real.dlclose(handle);
    end_unload();
    return result;
}
