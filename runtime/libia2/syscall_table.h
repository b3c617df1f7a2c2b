/* What each argument of each system call points to, as data. */
#ifndef IA2_SYSCALL_TABLE_H
#define IA2_SYSCALL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum ia2_points_to {
    IA2_NOTHING,  /* a number, or an address that the kernel does not follow during the call */
    IA2_FIXED,    /* `unit` bytes */
    IA2_SIZED,    /* as many bytes as argument `of` says, and `unit` more */
    IA2_COUNTED,  /* argument `of` elements of `unit` bytes */
    IA2_SIZED_AT, /* as many bytes as the uint32_t says that argument `of` points to */
    IA2_BITS,     /* as many bits as argument `of` says, in whole words of 64 */
    IA2_STRING,   /* until NUL */
    IA2_STRINGS,  /* pointers to strings, until NULL */
    IA2_POINTERS, /* argument `of` pointers to `unit` bytes each */
    IA2_VECTOR,   /* argument `of` struct iovec, and what they point to */
    IA2_MESSAGE,  /* struct msghdr, and what it points to */
    IA2_MESSAGES, /* argument `of` struct mmsghdr, and what they point to */
    IA2_MASK,     /* a pointer to a signal mask, and its size */
    IA2_UNKNOWN,  /* depends on other arguments: of unknown size and direction, if it is a pointer at all */
    IA2_IOCTL,    /* as the request in argument 1 says, if it says */
};

#define IA2_OF_INT 8 /* in `of`: the argument is an int, what stands in its upper half is not looked at */

struct ia2_shape {
    uint8_t points_to : 6; /* enum ia2_points_to */
    bool reads : 1;        /* the kernel reads there */
    bool writes : 1;       /* the kernel writes there; both may be */
    uint8_t of;            /* the number of another argument, 0 to 5, plus IA2_OF_INT */
    uint16_t unit;
};

/* Six shapes. Of a call that is newer than the table every argument is IA2_UNKNOWN. */
const struct ia2_shape *ia2_syscall_shapes(long number);

#endif
