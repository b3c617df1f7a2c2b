/* Is what loaded this process a glibc that we know? Whatever we rely on is looked at, and nothing is guessed at. */
#ifndef IA2_GLIBC_H
#define IA2_GLIBC_H

#include <stdbool.h>

#include "words.h"

/* False: `found` says in one line what was found and what is expected. Only from the constructor, before anything is changed. */
bool ia2_glibc_known(struct ia2_words *found);

#endif
