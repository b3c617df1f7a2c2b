/* libmoments.so: a destructor that minds its own business, or writes to `*target`, at whatever moment it runs. */
#ifndef ENFORCEMENT_MOMENTS_H
#define ENFORCEMENT_MOMENTS_H

void moments_aim(volatile int *target); /* NULL: at its own data */
int moments_register(void);             /* atexit */
int moments_register_quick(void);       /* at_quick_exit */
int moments_register_registering(void); /* atexit, of one that registers it */

#endif
