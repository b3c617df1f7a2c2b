/* What programs gave to fopencookie(). glibc keeps a number only, in memory that everyone may write; the functions lie here. */
#ifndef IA2_COOKIES_H
#define IA2_COOKIES_H

#include <stdbool.h>
#include <stdint.h>

enum ia2_cookie_call { IA2_COOKIE_READ, IA2_COOKIE_WRITE, IA2_COOKIE_SEEK, IA2_COOKIE_CLOSE, IA2_COOKIE_CALLS };

struct ia2_cookie {
    uintptr_t functions[IA2_COOKIE_CALLS]; /* 0: the program gave none */
    void *cookie;
    uint16_t caller; /* compartment of the code that called fopencookie() */
};

/* generation << 32 | index + 1: never 0, and another one when its place is used again. */
typedef uint64_t ia2_cookie_number;

/* Keeps a copy. Returns its number; 0 when there is no room, or when a signal handler interrupted this very work. Behind an open gate, as
 * all here. Any thread. */
ia2_cookie_number ia2_cookie_keep(const struct ia2_cookie *cookie);
/* Copies what `number` stands for. False: nothing, or not any more. */
bool ia2_cookie_find(ia2_cookie_number number, struct ia2_cookie *cookie);
/* Forgets it. A number that stands for nothing is let be. */
void ia2_cookie_forget(ia2_cookie_number number);

#endif
