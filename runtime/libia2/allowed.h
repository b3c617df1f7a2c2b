/* Touches of closed memory that are no violations: what glibc keeps in the data of others, and what libraries share by the linker's
 * doing. Whoever asks opens the page for that one instruction, or for that one system call. */
#ifndef IA2_ALLOWED_H
#define IA2_ALLOWED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ia2_allowed {
    IA2_NOT_ALLOWED,
    IA2_ALLOWED_COPIED, /* a symbol that the linker copied into the program (stdout, optarg, std::cout), by an object that uses it */
    IA2_ALLOWED_LOADER,      /* a table of ld.so's in the object, by ld.so, or read by the object's own PLT */
    IA2_ALLOWED_ENVIRONMENT, /* the environment, read by a shared object: putenv() takes the caller's own memory */
    IA2_ALLOWED_STDIO,       /* the buffer of a stream, by a shared object: setvbuf() takes the caller's own memory */
};

/* Remembers the streams' buffers in static memory as they are now: fclose() takes a stream out of glibc's list before it flushes it. When
 * memory is about to be closed. */
void ia2_allowed_remember(void);

/* May `instruction` touch `address`, which lies in closed memory of the object in `victim`? Says why, IA2_NOT_ALLOWED if not. Any thread,
 * signal handlers: no locks, no malloc, and what it reads may be closed itself. */
enum ia2_allowed ia2_touch_allowed(uint32_t victim, uintptr_t address, bool write, uintptr_t instruction);

/* The code on whose behalf a system call is made: addresses, innermost first. */
struct ia2_callers {
    const uintptr_t *frames;
    size_t count;
};

/* The same for a system call that shared code makes on such memory: all of [address, address + size) must be allowed. `write`: the kernel
 * writes there. The loader's tables are nothing for the kernel. A copied variable is for callers that use it; callers NULL: for anybody. */
enum ia2_allowed ia2_buffer_allowed(uint32_t victim, uintptr_t address, size_t size, bool write,
                                    const struct ia2_callers *callers);

#endif
