/* What of an object's writable memory is ld.so's: its dynamic section and the tables that lazy binding fills. */
#ifndef IA2_LOADER_TABLES_H
#define IA2_LOADER_TABLES_H

#include <stdbool.h>
#include <stdint.h>

/* May an instruction of the object in `toucher` touch `address` of the object in `victim`, because it is such a table? ld.so reads and
 * writes them, and reads the initial values of thread-local variables for a new thread; the object's own PLT reads its slots, whoever
 * calls through it; shared code reads the dynamic section (dladdr). Any thread, signal handlers; the victim may be closed. */
bool ia2_loader_may_touch(uint32_t victim, uintptr_t address, bool write, uint32_t toucher);

#endif
