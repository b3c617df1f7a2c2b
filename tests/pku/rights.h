/* What a program can find out about its own rights: the register, and the keys of pages as the kernel has them.
 * Compiled into every object of these tests; uses neither static data nor stdio, so that it works with everything
 * closed. */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden) /* each object has a copy of its own: no call leaves the compartment */

/* The register PKRU: two bits a key, set bits deny (Intel SDM volume 3, section 4.6.2). */
uint32_t rights_now(void);

/* Whether that value lets one read and write pages with `key`. */
bool rights_open(uint32_t pkru, int key);

/* Protection key of the page at `address` (/proc/self/smaps); the test fails where nothing is mapped. */
int rights_key_of(const void *address);

/* Bit k: some page of the process has key k. */
uint32_t rights_keys_in_use(void);

/* Whether key 0 and `key` are open in that value, and no other key can be read or written. (A key that nobody has is
 * closed to reading by the kernel; whether its bit for writing is set, too, is of no consequence.) */
bool rights_only(uint32_t pkru, int key);

/* Writes "NAME PKRU KEY STACK ADDRESS\n" (PKRU and ADDRESS hexadecimal) to standard output: the rights of the caller
 * now, the keys of its page `own` and of its stack, and which function it is. */
void rights_tell(const char *name, uintptr_t function, const void *own);

/* The caller, a destructor, has the rights of one compartment: told as above; key 0 and that of `own` are open, every
 * other key is closed. (`own` may still have key 0 before exit: then at most one more is.) `own` gets written. */
void rights_check_own(const char *name, uintptr_t function, volatile int *own);

#define CHECK_OWN(function, own) CHECK_OWN_(function, own)
#define CHECK_OWN_(function, own) rights_check_own(#function, (uintptr_t)(function), own)

/* A line on standard output. */
void rights_say(const char *line);

/* Ends the process with status 70 and a line on standard error, unless the condition holds. */
#define CHECK(condition) ((condition) ? (void)0 : rights_failed(__FILE__, __LINE__, #condition))
__attribute__((noreturn)) void rights_failed(const char *file, int line, const char *condition);

#pragma GCC visibility pop

#endif
