/* Libraries that a program copies variables from, and ones that have nothing to do with them. */
#ifndef TOUCHED_H
#define TOUCHED_H

#include <stddef.h>

extern char lent[40];       /* libowner.so's; the program copies it */
extern char lent_alias[40]; /* the same variable under another name */
const void *owner_code(void);
const void *user_code(void);     /* refers to `lent` */
const void *alias_code(void);    /* refers to it as lent_alias */
const void *stranger_code(void); /* refers to nothing */

/* The tables of the object that `code` is in. */
struct tables {
    const char *dynamic, *dynamic_end;
    const char *plt_got;             /* the three words of ld.so's */
    const char *plt_slot, *got_slot; /* one that a relocation fills */
    const char *thread_initial;      /* of its thread-local variable */
};
struct tables tables_of(const void *code);

#endif
