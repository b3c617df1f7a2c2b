/* What of an object's memory can be closed, in whole pages. */
#ifndef IA2_RANGES_H
#define IA2_RANGES_H

#include <link.h>
#include <stddef.h>
#include <stdint.h>

#define IA2_MAX_RANGES                                                                                                 \
    4u /* of one object: two are usual with GNU ld's layout or lld's, one more for each IA2_SHARED_DATA section */

/* What ia2_ranges_find() returns instead of a number when nothing may be closed. */
#define IA2_RANGES_UNREADABLE UINT32_MAX        /* which of its data is marked as shared cannot be told */
#define IA2_RANGES_EXECUTABLE (UINT32_MAX - 1u) /* a writable segment holds code as well */

struct ia2_range {
    uintptr_t start, end;
};

struct ia2_object;

/* The writable segments of `object`, less RELRO, less the pages that lie wholly inside the section .ia2.shared, less a segment that
 * holds ld.so's own tables. Sorted by address. Returns how many there are, which may be more than `room`: then the ranges must not be
 * used; or one of the constants above. Reads the object's file where a note says that it may have shared data, else nothing but memory.
 * `object` must be identified, with its path. Only under the lock of the table. */
uint32_t ia2_ranges_find(const struct ia2_object *object, const ElfW(Phdr) *headers, size_t count, struct ia2_range *ranges,
                         uint32_t room);

/* In words, for the object's why_not: why it has no ranges that may be closed, NULL where it has, from what the above returned. */
const char *ia2_ranges_why_not(uint32_t found);

#endif
