/* The moments at which destructors run: the end of main, exit and its relatives, dlclose. */
#include <unistd.h>

#include "events.h"
#include "objects.h"
#include "sealed.h"
#include "run.h"

static int (*program_main)(int, char **, char **);

static int main_then_exit(int argc, char **argv, char **envp) {
    int status = program_main(argc, argv, envp);
    ia2_exit_begin(IA2_EXIT_MAIN, status);
    return status;
}

/* The end of main leads to an exit inside libc that nobody can stand in front of, so we stand around main. */
IA2_PUBLIC int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                                 void (*fini)(void), void (*rtld_fini)(void), void *stack_end);

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
    ia2_real_resolve();
    program_main = main;
    return ia2_sealed.real.libc_start_main(ia2_sealed.ready ? main_then_exit : main, argc, argv, init, fini, rtld_fini, stack_end);
}

IA2_PUBLIC void exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        ia2_thread.unloading = ia2_thread.finalising = 0; /* a dlclose that led here never ends */
        ia2_exit_begin(IA2_EXIT_CALL, status);
    }
    ia2_sealed.real.exit(status);
}

IA2_PUBLIC void quick_exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        ia2_exit_begin(IA2_EXIT_QUICK, status);
    }
    ia2_sealed.real.quick_exit(status);
}

/* No destructor runs here, and that is worth a line: what was registered is left undone. */
IA2_PUBLIC void _exit(int status) {
    ia2_real_resolve();
    if (ia2_sealed.ready) {
        ia2_event_end("_exit", status);
    }
    ia2_sealed.real.underscore_exit(status);
}

IA2_PUBLIC void _Exit(int status) { _exit(status); }

/* An object that is unloaded must be known before its destructors run, and forgotten afterwards. */
IA2_PUBLIC int dlclose(void *handle) {
    ia2_real_resolve();
    if (!ia2_sealed.ready) {
        return ia2_sealed.real.dlclose(handle);
    }
    ia2_objects_sync();
    ia2_thread.unloading++;
    int result = ia2_sealed.real.dlclose(handle);
    ia2_thread.unloading--;
    ia2_objects_sync();
    return result;
}
