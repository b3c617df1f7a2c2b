/* The mappings of this process, as the kernel lists them. */
#ifndef IA2_MAPPINGS_H
#define IA2_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia2_mapping {
    uintptr_t start, end;
    int protection; /* PROT_READ, PROT_WRITE, PROT_EXEC */
};

/* A walk from low addresses to high ones; only its functions look inside. It keeps no lock, so mappings may come and go meanwhile: what
 * it tells is sorted, without overlaps, and was true at some time. */
struct ia2_mappings {
    long file;
    bool asks;   /* the kernel answers for single addresses (Linux 6.11): no line need be read but those wanted */
    bool failed; /* the list could not be read or understood */
    struct ia2_mapping current;
    size_t at, length; /* of the text that is read but not parsed */
    char text[4096];   /* the kernel gives a page at a time (fs/seq_file.c) */
};

/* Begins a walk. Returns false when there is no list (/proc is not mounted, or no descriptor is free). No malloc, no locks. */
bool ia2_mappings_open(struct ia2_mappings *mappings);
/* The first mapping that ends above `from`, which must not be less than in the call before. False when there is none, or on failure. */
bool ia2_mappings_next(struct ia2_mappings *mappings, uintptr_t from, struct ia2_mapping *found);
/* Ends the walk. Returns false when it failed. */
bool ia2_mappings_close(struct ia2_mappings *mappings);

/* Calls `each` for every mapping, until it returns false. Returns false when the list could not be read. */
bool ia2_mappings_walk(bool (*each)(void *argument, uintptr_t start, uintptr_t end, int protection), void *argument);

#endif
