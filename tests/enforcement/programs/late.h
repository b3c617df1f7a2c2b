/* The library that `late` is linked with, whose data stays closed to the destructors of others. */
#ifndef ENFORCEMENT_LATE_H
#define ENFORCEMENT_LATE_H

extern char late_text[32] __attribute__((visibility("default")));
void late_touch(void);

#endif
