/* What everybody's secrets are: text that is also a path, so that it can be read, written, opened and printed. */
#ifndef ENFORCEMENT_SECRET_H
#define ENFORCEMENT_SECRET_H

#include <stddef.h>

#define SECRET "/dev/zero"
#define SECRET_ROOM 256 /* more than a struct stat */

/* libvictim.so: the address of a secret, by name (data, bss), and the end of a shared page, close behind which bss lies. */
char *victim_secret(const char *name);
char *victim_shared_end(void);

/* libculprit.so: has the action of that name run at exit, on `address`. `start` is where a call that is to come up
 * short begins, in memory that is open to all. */
int culprit_register(const char *action, char *address, char *start);

/* Whether a secret is what it was, as a word. */
#define STATE_OF(secret) (strcmp((secret), SECRET) == 0 ? "kept" : "changed")

#endif
