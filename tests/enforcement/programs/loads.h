/* What plugin.so, and libintruder.so as the caller of dlopen, export. */
#ifndef ENFORCEMENT_LOADS_H
#define ENFORCEMENT_LOADS_H

/* plugin.so: its handler marks the byte at `other`, unless that is NULL. */
void plugin_aim(char *other);
int plugin_register(void);

#endif
