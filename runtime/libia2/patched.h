/* A glibc with our patch (tests/glibcs/patching.py): for each object that it finalises, ld.so calls us in place of its DT_FINI_ARRAY and
 * DT_FINI, so nothing has to be redirected (redirect.h). */
#ifndef IA2_PATCHED_H
#define IA2_PATCHED_H

#include <stdbool.h>

#include "words.h"

/* False: there is such a hook, but not the one that we know; `found` says what is there. Only from the constructor. */
bool ia2_patched_known(struct ia2_words *found);

/* Takes the hook, where there is one, and notes that in ia2_sealed. Once, from the constructor, when nothing else can fail. */
void ia2_patched_take(void);

#endif
