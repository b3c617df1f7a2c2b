/* Reading memory that may be closed. */
#ifndef IA2_PEEK_H
#define IA2_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies `size` bytes from `from`, whatever page protections and protection keys say there. Returns false, with `to` undefined,
 * where no memory is mapped or the kernel refuses (no /proc, or no descriptor free, and the page is closed). Any thread, signal
 * handlers; never faults. */
bool ia2_peek(void *to, uintptr_t from, size_t size);

#endif
