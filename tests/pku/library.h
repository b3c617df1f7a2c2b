/* A library of these tests. Compiled several times, with PART as the prefix of its names and COMPARTMENT as its number:
 * libpku_a.so (2), libpku_b.so (3), and the plugin pku_plugin.so (4). */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <pthread.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)

#define DECLARE_LIBRARY(part)                                                                                          \
    /* Its static data, open to whoever has its key. */                                                                \
    extern volatile int part##_data;                                                                                   \
    /* Registers part_at_exit, which checks its rights and says so. */                                                 \
    void part##_register(void);                                                                                        \
    /* Registers `action`, run by a destructor of this library that checks its rights before and after it. */          \
    void part##_register_action(void (*action)(void));                                                                 \
    /* The same without the look at the rights after `action`. */                                                      \
    void part##_register_free_action(void (*action)(void));                                                            \
    /* Registers a destructor that does nothing but touch its own data. */                                             \
    void part##_register_quiet(void);                                                                                  \
    /* Registers a destructor that is a marker and nothing else (marker.h). */                                         \
    void part##_register_mark(void);                                                                                   \
    /* Gives the calling thread a thread_local object and a key's value, each with a destructor of this library. */    \
    void part##_register_in_thread(void);                                                                              \
    /* Writes the library's data `times` times. */                                                                     \
    void part##_touch(long times);                                                                                     \
    /* What it registers destructors with. */                                                                          \
    void *part##_dso(void);

DECLARE_LIBRARY(a)
DECLARE_LIBRARY(b)
DECLARE_LIBRARY(plugin)

#endif
