/* Compiled as each of the libraries of touched.h. */
#include "touched.h"

#include <stdio.h>

#ifdef OWNER
char lent[40] = {1};
extern char lent_alias[40]
    __attribute__((weak, alias("lent"))); /* weak, as glibc's environ is: the linker copies both names */
__thread int of_thread = 4711;
int of_library = 1;
static volatile char own = 1;
const void *owner_code(void) {
    fputc(own, stdout); /* a slot of the PLT and one of the GOT */
    of_thread += of_library;
    return (const void *)&owner_code;
}
#endif
#ifdef USER
const void *user_code(void) {
    lent[0]++;
    return (const void *)&user_code;
}
#endif
#ifdef ALIAS
const void *alias_code(void) {
    lent_alias[0]++;
    return (const void *)&alias_code;
}
#endif
#ifdef STRANGER
const void *stranger_code(void) { return (const void *)&stranger_code; }
#endif
