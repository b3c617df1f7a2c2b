/* libone.so and libtwo.so, both of ownership_library.c: what each lends to the program. NAME is `one` or `two`. */
#ifndef ENFORCEMENT_OWNERSHIP_H
#define ENFORCEMENT_OWNERSHIP_H

struct owner {
    char *data;   /* static memory of the library's own: 64 bytes, clean while they are a blank and zeros */
    void *handle; /* its __dso_handle */
    char *weak;   /* libtwo's weak variable */

    /* Code of the library's: marks the byte that its argument points to. */
    void (*touch)(void *at);
    void (*touch_on_exit)(int status, void *at);
    /* Without an argument to say where: the byte that `aim` was called with. */
    void (*aim)(char *at);
    void (*touch_aimed)(void);
    /* Marks what it is given and the library's own data. */
    void (*touch_both)(void *at);
    /* A handler of SIGUSR1 that marks the byte that was aimed at; raised by the destructor `raises`. */
    void (*handler)(int signal);
    void (*raises)(void *unused);

    /* Registrations whose call lies in the library's code. */
    int (*cxa_atexit)(void (*function)(void *), void *argument, void *handle);
    int (*thread_atexit)(void (*function)(void *), void *argument, void *handle);
    int (*quick_exit)(void (*function)(void), void *handle);
    int (*on_exit)(void (*function)(int, void *), void *argument);

    /* What its .fini_array and its DT_FINI do; nothing while these are NULL. */
    char **fini_array_target;
    char **fini_target;
    /* Changes its entry of .fini_array that prints `entry runs`, at run time. */
    void (*tamper)(void (*with)(void));
};

struct owner one_owner(void);
struct owner two_owner(void);

#endif
