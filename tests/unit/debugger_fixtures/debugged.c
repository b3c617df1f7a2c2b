/* `debugged [SCENARIO [PLUGIN]]`: a program that has something to look at in each way to end. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

void library_register(void);
void library_scribble(int *where);

static int own_data = 1;
static tss_t key;

static void own_bye(void) { own_data++; }
static void own_crash(void) { *(volatile int *)8 = own_data; }
static void key_gone(void *value) { *(int *)value += 1; }

static int use_key(void *value) {
    tss_set(key, value);
    return 0;
}

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    library_register();
    atexit(own_bye);
    fprintf(stdout, "main %s\n", argc > 2 ? argv[2] : scenario);
    if (!strcmp(scenario, "plugin")) {
        return dlopen(argv[2], RTLD_NOW) ? 3 : 4;
    }
    if (!strcmp(scenario, "thread")) {
        thrd_t thread;
        tss_create(&key, key_gone);
        thrd_create(&thread, use_key, &own_data);
        thrd_join(thread, NULL);
    }
    if (!strcmp(scenario, "scribble")) {
        library_scribble(&own_data);
    }
    if (!strcmp(scenario, "crash")) {
        atexit(own_crash);
    }
    if (!strcmp(scenario, "crash now")) {
        own_crash();
    }
    return 3;
}
