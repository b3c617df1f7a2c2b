/* What the scenarios share: main's own destructors (main.c) and the plug-ins (plugins.c). */
#ifndef DL_DEBUG_PROGRAM_H
#define DL_DEBUG_PROGRAM_H

/* destructors.h in main.c. */
void main_register(void);
void main_register_in_thread(void);

/* Registers one destructor of every kind in main, library, library_cxx and plugin_resident (which it loads), and lets
 * plugin_unloaded do the same, use them in a thread, and go. */
void register_everything(void);

/* Runs `function` in a thread of its own and waits for its end. */
void in_thread(void *(*function)(void *));

struct plugin {
    void *handle;
    char *base; /* where it is loaded */
    void (*do_register)(void);
    void (*register_in_thread)(void);
    void (*delete_key)(void);
};

/* By bare name: found by the RUNPATH of the program, so dlopen must see the program as its caller. Ends the program
 * with status 98 when it cannot be loaded. */
struct plugin plugin_load(const char *name);
void plugin_unload(const struct plugin *plugin);

/* Keeps a page mapped where the plug-in was, so that it cannot be loaded there again. */
void plugin_block_address(const struct plugin *plugin);

/* 1 if a plug-in of that name is loaded. */
int plugin_is_loaded(const char *name);

#endif
