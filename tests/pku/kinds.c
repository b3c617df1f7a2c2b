/* Destructors of three compartments in the exit phase, in an unmodified program: `kinds`. Between them run handlers
 * that reached glibc behind the runtime's back. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

int on_exit(void (*)(int, void *), void *);

static volatile int own;

__attribute__((destructor)) static void main_fini_array(void) { CHECK_OWN(main_fini_array, &own); }

static void main_at_exit(void) { CHECK_OWN(main_at_exit, &own); }

static void main_on_exit(int status, void *argument) {
    CHECK(status == 3 && argument == (void *)&own);
    CHECK_OWN(main_on_exit, &own);
}

/* At rest only shared memory is open: this handler may not touch even the data of its own object. */
static void resting(void *argument) {
    rights_tell("resting", (uintptr_t)resting, argument);
    CHECK(rights_only(rights_now(), 0));
}

/* glibc's own function, not the one that the runtime has put in front of it. */
static int (*glibc_cxa_atexit)(void (*)(void *), void *, void *);

static void find_glibc(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    CHECK(libc);
    void *found = dlsym(libc, "__cxa_atexit");
    CHECK(found);
    glibc_cxa_atexit = (__typeof__(glibc_cxa_atexit))found;
}

static void register_resting(void) { CHECK(glibc_cxa_atexit(resting, (void *)&own, NULL) == 0); }

int main(void) {
    find_glibc();
    register_resting();
    a_register();
    register_resting();
    b_register();
    CHECK(on_exit(main_on_exit, (void *)&own) == 0);
    CHECK(atexit(main_at_exit) == 0);
    a_register();
    register_resting();
    /* Of another compartment than the calling thread's end: before the list, in this thread. */
    b_register_in_thread();
    return 3;
}
