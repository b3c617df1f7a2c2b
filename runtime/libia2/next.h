/* What dlsym(RTLD_NEXT, …) finds, for many names at once: dlsym asks every object for each name, with a lock and a search of its own each
 * time, which is most of what a short process would notice of us. */
#ifndef IA2_NEXT_H
#define IA2_NEXT_H

#include <stddef.h>

struct ia2_next {
    const char *name;
    size_t offset; /* from `base`, of the pointer to set */
};

#define IA2_MOST_NEXT 64u

/* Sets a pointer for each of up to IA2_MOST_NEXT names: to the function of that name, in its default version, that the first object after
 * the one that this code is in defines; NULL: there is none. Objects of the start only, in the order in which ld.so searches them. */
void ia2_next_resolve(const struct ia2_next *table, size_t count, void *base);

#endif
