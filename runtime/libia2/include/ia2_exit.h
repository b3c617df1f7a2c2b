/* ia2exit: destructors that run with only their owner's memory open. Public interface of libia2.so. */
#ifndef IA2_EXIT_H
#define IA2_EXIT_H

#include <stdint.h>

#include "ia2_exit_note.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IA2_EXIT_PUBLIC __attribute__((visibility("default")))

/* Kinds of destructors; the numbers are part of the binary map and of notes, 0 is none of them. */
enum ia2_exit_kind {
    IA2_EXIT_FINI_ARRAY = 1,
    IA2_EXIT_FINI = 2,
    IA2_EXIT_CXA_ATEXIT = 3,
    IA2_EXIT_ATEXIT = 4,
    IA2_EXIT_ON_EXIT = 5,
    IA2_EXIT_QUICK_EXIT = 6,
    IA2_EXIT_THREAD_ATEXIT = 7,
    IA2_EXIT_PTHREAD_KEY = 8,
};

/* What the runtime keeps about one registration; opaque outside the runtime. */
struct exit_record;

/* What is known of a destructor by its address alone. Valid for the life of the process. */
struct ia2_destructor {
    uint64_t rva;         /* bytes from the load base of the object that holds it */
    uint32_t kind;        /* enum ia2_exit_kind */
    uint32_t compartment; /* whose rights it gets; 0 is shared */
    const char *symbol;   /* linker symbol, or NULL */
    const char *object;   /* soname, or base name of the program */
};

#pragma GCC visibility push(default) /* exported, whatever -fvisibility says */

/* The metadata of a destructor that the exit map lists, by its address; NULL for anything else, any pointer at
 * all included. Callable at any time from any thread and from a signal handler. */
IA2_EXIT_PUBLIC const struct ia2_destructor *ia2_destructor_lookup(const void *fn);

/* Runs the destructor of one of the runtime's own records with its owner's rights. Called by the runtime's stubs; a
 * pointer that is no live record of the runtime is refused (an event `fault`) and nothing runs. */
IA2_EXIT_PUBLIC void ia2_run_destructor(const struct exit_record *record);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
