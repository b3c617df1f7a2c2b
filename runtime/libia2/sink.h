/* Where event lines go: a descriptor of our own, high up and closed on exec, checked before each write so that a daemon that
 * closed everything and opened its database on our number never finds JSON in it (docs/exit-handling.md, "Events"). */
#ifndef IA2_SINK_H
#define IA2_SINK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "line.h"

struct ia2_sink {
    bool open; /* false in a zeroed sink: it costs no page of data at start */
    int fd;
    int owner;              /* process that may change this; a child of vfork() shares its parent's memory */
    uint64_t device, inode; /* of what `fd` must still refer to */
    char path[PATH_MAX];    /* absolute, for opening it again; "" where the target was not a path */
};

/* Opens `target`: "1" (standard error), "fd:N", or a path. "" leaves the sink closed. Returns 0 or -errno.
 * Only from the constructor. */
int ia2_sink_open(struct ia2_sink *sink, const char *target);

/* A forked child, with memory of its own, takes the sink over. */
void ia2_sink_inherit(struct ia2_sink *sink);

/* Writes one finished line. Returns false when it is lost. Any time, any thread, signal handlers; never raises SIGPIPE. */
bool ia2_sink_write(struct ia2_sink *sink, const struct ia2_line *line);

#endif
