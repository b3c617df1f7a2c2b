/* Calling a destructor (switch.S). */
#ifndef IA2_SWITCH_H
#define IA2_SWITCH_H

#define IA2_THREADS 1024   /* slots of threads, a power of two; of threads that are gone they are used again */
#define IA2_SEALED_ALIAS 0 /* offsets in union ia2_sealed */
#define IA2_SEALED_BITS 8
#define IA2_SEALED_FSGSBASE 12
#define IA2_SEALED_LEGACY 13
#define IA2_THREAD_PKRU 8 /* offsets in struct ia2_thread, and its size */
#define IA2_THREAD_DEPTH 12
#define IA2_THREAD_SIZE 384
#define IA2_AROUND 4096             /* bytes from a slot's `wanted` to its `around` */
#define IA2_CALL_FRAME 64           /* bytes that a call keeps below the saved RBP */
#define IA2_PKRU_HANDLER 0x55555554 /* what the kernel gives every signal handler: only key 0 is open */

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The stack pointer of the innermost call, to which an abandoned one returns: at [slot] of a destructor, at [slot + IA2_THREADS] of a
 * signal handler, which may never return. The caller keeps the value of an outer call and puts it back. */
extern uintptr_t ia2_call_sp[2 * IA2_THREADS];

struct ia2_call {
    uintptr_t function;
    uintptr_t arguments[3]; /* those that the function does not take stay unread in their registers */
    uintptr_t stack;        /* where its stack is to end, 16-byte aligned; 0: the present one */
    uint32_t slot;          /* of the calling thread */
    uint32_t place;         /* in ia2_call_sp */
};

/* Calls the function with the rights that the thread has. Returns true where the call was abandoned half-way. */
bool ia2_call(const struct ia2_call *call);

/* The same with PKRU as ia2_sealed.wanted[slot] says. On return PKRU is as ia2_sealed.wanted[slot + IA2_THREADS] says (what was
 * around the call), and the runtime's own memory is open. */
bool ia2_call_pku(const struct ia2_call *call);

/* Not functions: where a signal handler sends an abandoned call, with RSP = ia2_call_sp[place], RBP = RSP + IA2_CALL_FRAME
 * (unwinders need it at once), R12 = slot and R14 = place. */
extern const char ia2_call_abandoned[];
extern const char ia2_call_pku_abandoned[];

/* Where our signal handlers return to: rt_sigreturn, from within the runtime's own text. */
extern const char ia2_sigaction_return[];

#endif
#endif
