/* The ways in which the program ends; main.c chooses one by name. */
#ifndef DL_DEBUG_SCENARIOS_H
#define DL_DEBUG_SCENARIOS_H

struct scenario {
    const char *name;
    int status; /* exit status, or minus the signal that ends the program */
    const char *summary;
    int (*run)(void); /* what it returns, main returns */
};

/* scenarios_threads.c */
int scenario_thread_end(void);
int scenario_thread_exit(void);
int scenario_last_thread(void);
int scenario_key_limit(void);

/* scenarios_objects.c; register_crossed registers functions and handles of other objects, and of none. */
void register_crossed(void);
int scenario_unload(void);
int scenario_unload_pinned(void);
int scenario_reload(void);
int scenario_crossed(void);

/* Ends with an entry whose name is NULL. The first is the default. */
extern const struct scenario scenarios[];

#endif
