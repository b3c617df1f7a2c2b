/* libcookies.so: a compartment of its own, which uses streams of main's in its destructor, and makes one for main. */
#ifndef ENFORCEMENT_COOKIES_H
#define ENFORCEMENT_COOKIES_H

#include <stdio.h>

/* At exit the library does what `scenario` says with the stream, and with main's byte. */
void cookies_at_exit(const char *scenario, FILE *stream, char *byte);

/* A byte of the library's. */
char *cookies_byte(void);

/* A stream of the library's. */
FILE *cookies_stream(void);

#endif
