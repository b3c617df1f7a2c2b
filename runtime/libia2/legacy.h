/* IA2_EXIT_FORCE_LEGACY: the old way, PKRU = 0 for the whole exit. No record is kept, nothing is taken over, nothing is closed: the way
 * back, which shares no code with the rest beyond writing an event. */
#ifndef IA2_LEGACY_H
#define IA2_LEGACY_H

/* The process exits: opens everything to this thread and says so. Only the first call counts. */
void ia2_legacy_exit(const char *how, int status);

#endif
