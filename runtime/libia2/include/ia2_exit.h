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

/* A runtime that owns protection keys and has tagged its own pages (IA2 for one): whose destructors run with its keys and on its
 * stacks. The functions are called during the exit phase, at dlclose and at the end of a thread, in the thread that is about to run a
 * destructor, with PKRU open for all the host's memory; they must not allocate, lock or call back. */
struct ia2_exit_host {
    uint32_t size;        /* sizeof(struct ia2_exit_host) */
    uint32_t shared_pkru; /* PKRU with which only what every compartment needs is open: key 0, libc's memory */
    int (*key_of)(uint32_t compartment); /* key of that compartment's pages, -1: it has none */
    void *(*stack_of)(
        uint32_t compartment); /* top of the calling thread's stack for it, 16-byte aligned; NULL: stay on the present
                                                 one. The pointer itself may be NULL, too */
};

/* From now on ia2exit tags no page, and gives each destructor shared_pkru with its owner's key open; the host's PKRU is what is saved and
 * restored around it. Once in a process, before exit, from any thread; `host` is copied. Returns 0, -ENOTSUP (the backend is not pku),
 * -EINVAL (a wrong size, no key_of, or key 0 closed), -EBUSY (attached already, or the exit phase has begun). */
IA2_EXIT_PUBLIC int ia2_exit_attach(const struct ia2_exit_host *host);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
