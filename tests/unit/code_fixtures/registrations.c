/* Registrations in all the ways that C code makes them. What each must give is listed in test_code_builds.py;
   functions that begin with `exit_` are registered, those that begin with `never_` are not. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define KEEP __attribute__((noinline, used))
#define HANDLER(name)                                                                                                  \
    KEEP static void name(void) { __asm__ volatile("" : : "r"(__LINE__)); }
#define HANDLER_1(name)                                                                                                \
    KEEP static void name(void *argument) { __asm__ volatile("" : : "r"(argument), "r"(__LINE__)); }

HANDLER(exit_plain)
HANDLER(exit_tail)
HANDLER(exit_left)
HANDLER(exit_right)
HANDLER(exit_loop)
HANDLER(exit_in_switch_1)
HANDLER(exit_in_switch_2)
HANDLER(exit_in_switch_3)
HANDLER(exit_in_switch_4)
HANDLER(exit_in_switch_5)
HANDLER(exit_in_table)
HANDLER(exit_forwarded_1)
HANDLER(exit_forwarded_2)
HANDLER(exit_forwarded_twice)
HANDLER(exit_forwarded_third)
HANDLER(exit_through_struct_1)
HANDLER(exit_through_struct_2)
HANDLER(exit_after_calls)
HANDLER(exit_quick)
HANDLER(exit_conditional)
HANDLER(never_called)
HANDLER_1(exit_key)
HANDLER_1(exit_forwarded_key)
HANDLER_1(never_key)
KEEP static void exit_on_exit(int status, void *argument) { __asm__ volatile("" : : "r"(status), "r"(argument)); }

struct entry {
    const char *name;
    void (*function)(void);
};

static void (*const table[])(void) = {never_called, exit_in_table};
static const struct entry first = {"first", exit_through_struct_1}, second = {"second", exit_through_struct_2};
/* Never registered, but their addresses are there to be mistaken. */
void (*volatile sink)(void) = never_called;
void (*volatile sink_1)(void *) = never_key;

KEEP static int opaque(int value) {
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

KEEP static int tail_call(void) { return atexit(exit_tail); }

KEEP static int either(int left) { return atexit(left ? exit_left : exit_right); }

KEEP static int in_loop(int times) {
    int failed = 0;
    for (int i = 0; i < times; i++)
        failed |= atexit(exit_loop);
    return failed;
}

KEEP static int in_switch(int value) {
    switch (value) {
    case 1:
        atexit(exit_in_switch_1);
        return 10;
    case 2:
        atexit(exit_in_switch_2);
        return opaque(7);
    case 3:
        atexit(exit_in_switch_3);
        return 30;
    case 4:
        atexit(exit_in_switch_4);
        return opaque(70);
    case 5:
        atexit(exit_in_switch_5);
        return 13;
    }
    return 0;
}

KEEP static int forward(const char *name, void (*function)(void)) {
    if (opaque(name != NULL))
        return atexit(function);
    return opaque(1);
}

KEEP static int forward_again(void (*function)(void), int flag) {
    return opaque(flag) + forward("twice", function) + opaque(flag);
}

KEEP static int forward_third(int flag, void (*function)(void)) {
    return opaque(flag) + forward_again(function, flag) + opaque(flag);
}

KEEP static int forward_struct(const struct entry *entry, int flag) {
    if (flag)
        opaque((int)entry->name[0]);
    return atexit(entry->function) + opaque(1);
}

KEEP static int forward_key(void (*destructor)(void *), pthread_key_t *key) {
    return pthread_key_create(key, destructor) + opaque(1);
}

KEEP static int after_calls(int a, int b, int c) {
    void (*function)(void) = exit_after_calls;
    a = opaque(a) + opaque(b);
    b = opaque(c) + opaque(a);
    atexit(function);
    return opaque(a + b) + atexit(function);
}

/* Other objects call it with what we cannot know. */
int exported_forward(void (*function)(void)) { return atexit(function); }

KEEP static int keys(void) {
    pthread_key_t key, other, bare;
    return pthread_key_create(&key, exit_key) + pthread_key_create(&bare, NULL) +
           forward_key(exit_forwarded_key, &other) + forward_key(NULL, &other);
}

KEEP int register_all(int count, char **words) {
    atexit(exit_plain);
    opaque(tail_call() + either(count) + in_loop(count) + in_switch(count));
    atexit(table[1]);
    forward("one", exit_forwarded_1);
    forward(words[0], exit_forwarded_2);
    forward_again(exit_forwarded_twice, count);
    forward_third(count, exit_forwarded_third);
    forward_struct(&first, count);
    forward_struct(&second, 0);
    opaque(after_calls(count, 2, 3) + keys());
    on_exit(exit_on_exit, words);
    at_quick_exit(exit_quick);
    atexit(tzset);
    if (count > 1)
        atexit(exit_conditional);
    return 0;
}

#ifdef PROGRAM
int main(int count, char **words) { return register_all(count, words); }
#endif
