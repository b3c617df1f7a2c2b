/* Questions to the runtime's answers about memory, for the programs of these tests: what of an object is closed, which touches are allowed. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* Makes a table of what is loaded. glibc and this library are in compartment 0, every other object in one of its own. */
void probe_start(void);

/* Prints "NAME: closed", "NAME: open" or "NAME: nowhere". */
void probe_show(const char *name, const volatile void *address);

/* Prints "NAME: " and why the object at `address` cannot be closed, or how many ranges and pages it has, after checking that they are whole pages, sorted,
 * mapped and writable. */
void probe_show_object(const char *name, const volatile void *address);

/* Closes every object but those of compartment 0, asks, opens all again, and prints "NAME: " and why the touch is allowed, or "no". */
void probe_touch(const char *name, const volatile void *address, bool write, const void *instruction);
void probe_buffer(const char *name, const volatile void *address, size_t size, bool write);

/* Some address of code in the object that defines `function`. */
const void *probe_code(const char *function);

#endif
