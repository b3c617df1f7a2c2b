/* How memory is closed: by page protections (close_mprotect.c) or protection keys (close_pku.c), or not at all.
 *
 * Everything here runs behind an open gate. Memory is closed from ia2_close_begin() to ia2_close_end(): during the exit phase, and
 * around the destructors of a dlclose or of a thread that ends. */
#ifndef IA2_BACKEND_H
#define IA2_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>
#include <ucontext.h>

#include "pieces.h"
#include "thread.h"

#define IA2_PAGE 4096u

/* ---- for run.c, hooks and init.c ------------------------------------------------------------------------------------------------ */

/* Chooses the backend that `wanted` names ("" or "auto": the first that works), when the objects of the start are known. Returns NULL, or
 * why the one that was asked for cannot be had; then nothing is chosen. Only from the constructor, before any other thread exists. */
const char *ia2_backend_choose(const char *wanted);

/* Closes all that can be closed. Returns NULL, or why nothing could be. */
const char *ia2_close_begin(struct ia2_thread *thread);
/* Opens everything again. */
void ia2_close_end(struct ia2_thread *thread);
/* The last destructor of the process has run, in the calling thread: what is closed may stay so until it is touched, or until the first
 * system call, for nearly always nothing follows but the end of the process. False: that cannot be had, ia2_close_end() must open it. */
bool ia2_close_linger(struct ia2_thread *thread);
bool ia2_close_lingers(void);
/* The same, where no destructor of this thread runs, no dlclose of it is under way, and it is not the one that exits. */
void ia2_close_when_idle(struct ia2_thread *thread);
bool ia2_is_closing(void);

/* What one more destructor of the exit phase finds open, under backend mprotect and without a trace: this compartment alone, besides the
 * shared, for this thread; IA2_NOT_ALONE where that is not so. Written by close_mprotect.c. */
#define IA2_NOT_ALONE UINT32_MAX
struct ia2_alone {
    struct ia2_thread
        *thread; /* has closed memory, and is the calling one while there is no other; NULL: nothing is closed yet */
    uint32_t owner;
};
extern struct ia2_alone ia2_alone;

/* The calling thread, where nothing need be done before a destructor of this compartment is called in it, outside any other; else NULL. */
static inline struct ia2_thread *ia2_close_is_open_for(uint16_t owner) {
    struct ia2_thread *thread = ia2_alone.thread;
    bool open = ia2_alone.owner == owner && __libc_single_threaded && thread->within == 0 && thread->busy == 0 &&
                thread->rights.owner == 0 && thread->base == (uintptr_t)__builtin_thread_pointer();
    return open ? thread : NULL;
}

/* Applies what the calling thread has still to apply (changes.h). Right before a destructor, not in a signal handler: what was interrupted
 * may hold a lock that another thread waits for in here. */
void ia2_close_catch_up(struct ia2_thread *thread);
/* Gives the calling thread these rights for its next call, closing memory first where that is not done yet. Returns NULL, or why
 * nothing is closed for it. */
const char *ia2_close_enter(struct ia2_thread *thread, const struct ia2_rights *rights);
/* The rights of the code around that call again: of the destructor that it interrupted, or those between destructors. */
void ia2_close_leave(struct ia2_thread *thread, const struct ia2_rights *outer);

/* Is that a page of the running destructor's own compartment, whose turn had not come yet, or does memory linger? Then it is open now.
 * Backend mprotect. */
bool ia2_close_admits(uintptr_t address);
/* Opens all such pages: the kernel is about to look at some, and would not wait. */
void ia2_close_admit_all(void);

/* ---- for the fault and system-call handlers --------------------------------------------------------------------------------------- */

/* Backend pku: the bits in PKRU of the keys that the runtime has allocated. */
uint32_t ia2_pku_our_bits(void);

/* The piece of closed memory at `address` that the rights of `thread` do not cover; NULL where it is open or none of ours. */
const struct ia2_piece *ia2_closed_at(const struct ia2_thread *thread, uintptr_t address);

/* Key of a compartment's memory, 0: none. Backend pku. */
uint8_t ia2_key_of(uint16_t compartment);

/* Everything of ours is open to the interrupted code, which is about to end by a signal: the kernel leaves out of a core file what the
 * thread cannot read. Nothing else changes. */
void ia2_open_for_core(ucontext_t *context);

/* PKRU with which compartment 0 and `id` are open (computed, where there are no keys: number = key). Returns false when no key stands for it. */
bool ia2_pkru_of(uint16_t id, uint32_t *pkru);
bool ia2_pkru_of_rights(const struct ia2_rights *rights, uint32_t *pkru);

/* The program has mapped, unmapped or protected memory: what there is to close has changed. Any time, signal handlers. */
void ia2_pieces_change(void);

/* Forgets the pieces of an object that is about to be unmapped, opened before. Under the lock of the object table. */
void ia2_close_forget(uint32_t slot);

#endif
