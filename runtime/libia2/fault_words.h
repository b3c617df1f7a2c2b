/* A deadly signal in words: what can only be told while the process is still there. */
#ifndef IA2_FAULT_WORDS_H
#define IA2_FAULT_WORDS_H

#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#define IA2_FAULT_WORDS_MAX 160u /* bytes; printable ASCII without quotation marks, so it takes no more in JSON */

/* "segmentation fault" */
const char *ia2_fault_name(int signal);

/* "stack overflow", "a write to read-only memory of libz.so.1"; "" where si_code and si_addr say all. For signal handlers, with the
 * runtime's handler of SIGSEGV and SIGBUS in place and not blocked (guard.h). */
void ia2_fault_words(char text[IA2_FAULT_WORDS_MAX], const siginfo_t *info, const ucontext_t *context);

#endif
