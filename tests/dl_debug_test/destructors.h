/* One synthetic destructor of every kind, for the object that includes this.
 *
 * The including file defines first:
 *   OBJECT         a word that begins the name of every function here: `library` gives `library_cxa_atexit`
 *   COMPARTMENT    the compartment that the object claims in its note
 *   OUTLIVED       (optional) the object is unloaded before the process ends: it registers no on_exit handler, which
 *                  glibc would call at exit although the code is gone
 *
 * The name of each function is the name in the log, in the exit map and in the runtime's events. DT_FINI is made by
 * the linker option -fini=OBJECT_fini. The object's note claims its compartment, one destructor that the code shows as
 * well (cxa_atexit) and one that only the note tells of (noted). */
#include <pthread.h>
#include <stdlib.h>

#include "cxa.h"
#include "ia2_exit.h"
#include "log.h"

#define JOIN_EXPANDED(prefix, suffix) prefix##_##suffix
#define JOIN(prefix, suffix) JOIN_EXPANDED(prefix, suffix)
#define NAME(suffix) JOIN(OBJECT, suffix)
#define TEXT(word) #word
#define TEXT_OF(word) TEXT(word)

#ifdef __cplusplus
extern "C" {
#endif

IA2_EXIT_COMPARTMENT(COMPARTMENT);

/* What each handler must get back: its address is the argument, its content is this object's own memory. */
static int NAME(own_memory) = COMPARTMENT;
static pthread_key_t NAME(key);

static long NAME(argument_is_own)(const void *argument) {
    return argument == &NAME(own_memory) && NAME(own_memory) == COMPARTMENT;
}

__attribute__((constructor)) static void NAME(shows_memory)(void) { log_owns(COMPARTMENT, &NAME(own_memory)); }

/* ---- the destructors ---- */

__attribute__((destructor(101))) static void NAME(fini_array_101)(void) { log_ran("fini_array", __func__, NULL, 0); }

__attribute__((destructor(102))) static void NAME(fini_array_102)(void) { log_ran("fini_array", __func__, NULL, 0); }

__attribute__((destructor)) static void NAME(fini_array)(void) { log_ran("fini_array", __func__, NULL, 0); }

/* Not static: the linker looks -fini's name up among the global symbols. */
void NAME(fini)(void);
void NAME(fini)(void) { log_ran("fini", __func__, NULL, 0); }

static void NAME(cxa_atexit)(void *argument) {
    log_ran("cxa_atexit", __func__, "own", NAME(argument_is_own)(argument));
}
IA2_EXIT_DESTRUCTOR(NAME(cxa_atexit), IA2_EXIT_CXA_ATEXIT, COMPARTMENT);

static void NAME(noted)(void *argument) { log_ran("cxa_atexit", __func__, "own", NAME(argument_is_own)(argument)); }
IA2_EXIT_DESTRUCTOR(NAME(noted), IA2_EXIT_CXA_ATEXIT, COMPARTMENT);

/* No disassembly finds out what this is at the time of the call. */
static void (*volatile NAME(pointer_to_noted))(void *) = NAME(noted);

static void NAME(atexit)(void) { log_ran("atexit", __func__, NULL, 0); }

#ifndef OUTLIVED
static void NAME(on_exit)(int status, void *argument) {
    log_ran("on_exit", __func__, NAME(argument_is_own)(argument) ? "status" : "not_own_status", status);
}
#endif

static void NAME(quick_exit)(void) { log_ran("quick_exit", __func__, NULL, 0); }

static void NAME(thread_atexit)(void *argument) {
    log_ran("thread_atexit", __func__, "own", NAME(argument_is_own)(argument));
}

static void NAME(pthread_key)(void *value) { log_ran("pthread_key", __func__, "own", NAME(argument_is_own)(value)); }

/* What must not be: writes to memory that is another object's. */
static void NAME(stray)(void *memory) {
    *(volatile int *)memory = -COMPARTMENT;
    log_ran("cxa_atexit", __func__, NULL, 0);
}

/* ---- registering them ---- */

/* Registers what runs at exit or at unload, and makes the key. */
void NAME(register)(void);
void NAME(register)(void) {
    log_registered("cxa_atexit", TEXT_OF(NAME(cxa_atexit)),
                   __cxa_atexit(NAME(cxa_atexit), &NAME(own_memory), &__dso_handle));
    log_registered("cxa_atexit", TEXT_OF(NAME(noted)),
                   __cxa_atexit(NAME(pointer_to_noted), &NAME(own_memory), &__dso_handle));
    log_registered("atexit", TEXT_OF(NAME(atexit)), atexit(NAME(atexit)));
#ifndef OUTLIVED
    log_registered("on_exit", TEXT_OF(NAME(on_exit)), on_exit(NAME(on_exit), &NAME(own_memory)));
#endif
    log_registered("quick_exit", TEXT_OF(NAME(quick_exit)), at_quick_exit(NAME(quick_exit)));
    log_registered("pthread_key", TEXT_OF(NAME(pthread_key)), pthread_key_create(&NAME(key), NAME(pthread_key)));
}

/* Registers a destructor that writes to `memory`. */
void NAME(register_stray)(void *memory);
void NAME(register_stray)(void *memory) {
    log_registered("cxa_atexit", TEXT_OF(NAME(stray)), __cxa_atexit(NAME(stray), memory, &__dso_handle));
}

/* This object's own memory, for another's stray destructor. */
void *NAME(memory)(void);
void *NAME(memory)(void) { return &NAME(own_memory); }

/* Registers what runs when the calling thread ends. */
void NAME(register_in_thread)(void);
void NAME(register_in_thread)(void) {
    log_registered("thread_atexit", TEXT_OF(NAME(thread_atexit)),
                   __cxa_thread_atexit_impl(NAME(thread_atexit), &NAME(own_memory), &__dso_handle));
    log_step("setspecific", pthread_setspecific(NAME(key), &NAME(own_memory)));
}

/* Takes the key back: an object must, before it goes. */
void NAME(delete_key)(void);
void NAME(delete_key)(void) { log_step("key_delete", pthread_key_delete(NAME(key))); }

#ifdef __cplusplus
}
#endif
