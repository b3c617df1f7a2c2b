/* Where interrupted code was: its stack, from the interrupted instruction outward. */
#ifndef IA2_UNWIND_H
#define IA2_UNWIND_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

/* Is given each code address in turn. Returns where the beginning of the function around it goes once that is known (0: it is not), or
 * NULL: enough. */
typedef uintptr_t *ia2_visit(void *to, uintptr_t address);

/* Goes from the interrupted instruction outward, as ia2_unwind() says, a million frames at most. */
void ia2_unwind_each(const ucontext_t *context, ia2_visit *visit, void *to);

/* Fills `frames` with code addresses: frames[0] is the interrupted instruction, the others are return addresses (after a signal
 * frame: the instruction that was interrupted), innermost first. Returns how many there are, at least one where room is.
 *
 * For handlers of signals: no lock, no memory but the stack (3 KiB). A damaged stack ends the list; that needs
 * the runtime's handler of SIGSEGV and SIGBUS in place (guard.h). */
size_t ia2_unwind(const ucontext_t *context, uintptr_t *frames, size_t room);

#endif
