/* What the program lends to liblegitimate.so and libother.so for the destructors that they run. */
#ifndef ENFORCEMENT_LEGITIMATE_H
#define ENFORCEMENT_LEGITIMATE_H

#ifdef __cplusplus
extern "C" {
#endif

struct lent {
    char *shared_data;        /* main's three pages, marked IA2_SHARED_DATA */
    char *heap;               /* main's malloc */
    char *thread_local_data;  /* main's, of the thread that exits */
    const char *const *relro; /* main's: constant after relocation */
    const char *constant;     /* main's .rodata */
    const char *program;      /* argv[0] */
};

/* liblegitimate.so, liblegitimate_cxx.so: the scenario of that name runs at exit; -1 where there is none. */
int legitimate_register(const char *scenario, const struct lent *lent);
int legitimate_cxx_register(const char *scenario);

/* libother.so: its own stack only; through its own PLT, bound at the first call. */
int other_sum(int count);
long other_asks_libc(const char *text);
/* libother.so: calls back on every item. */
void other_sorts(int *items, unsigned long count);

#ifdef __cplusplus
}
#endif

#endif
