/* libstreams.so: a destructor of another compartment that does the action of that name with main's streams. */
#ifndef ENFORCEMENT_STREAMS_H
#define ENFORCEMENT_STREAMS_H

#include <stdio.h>

void streams_in_destructor(const char *action, FILE *stream);

/* A static buffer of the library's. */
char *streams_buffer(void);

#endif
