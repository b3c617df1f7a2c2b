/* Where interrupted code was: its stack, from the interrupted instruction outward. */
#ifndef IA2_UNWIND_H
#define IA2_UNWIND_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define IA2_UNWIND_MAX 64u /* frames that are worth asking for: what fits in an event */

/* Fills `frames` with code addresses: frames[0] is the interrupted instruction, the others are return addresses (after a signal
 * frame: the instruction that was interrupted), innermost first. Returns how many there are, at least one where room is.
 *
 * For handlers of signals: no lock, no memory but the stack (3 KiB). A damaged stack ends the list; that needs
 * the runtime's handler of SIGSEGV and SIGBUS in place (guard.h). */
size_t ia2_unwind(const ucontext_t *context, uintptr_t *frames, size_t room);

#endif
