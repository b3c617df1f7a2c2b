/* The audit module's other half: objects are learnt of when ld.so maps them, in every namespace. */
#ifndef IA2_AUDIT_H
#define IA2_AUDIT_H

#include <stdbool.h>

/* Is libia2_audit.so there, and of our version? From the constructor on; any thread. */
bool ia2_audited(void);

#endif
