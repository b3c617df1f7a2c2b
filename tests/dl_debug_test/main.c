/* Compartment 1: the program. Registers destructors of every kind in five objects, then ends in the way that the
 * scenario named on the command line says (`--list` prints them); README.md has the whole story. */
#define OBJECT main
#define COMPARTMENT 1
#include "destructors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "library.h"
#include "program.h"
#include "scenarios.h"

void in_thread(void *(*function)(void *)) {
    pthread_t thread;
    int created = pthread_create(&thread, NULL, function, NULL);
    int joined = pthread_join(thread, NULL);

    /* Not before the thread's own lines: those would come in any order. */
    log_step("thread_created", created);
    log_step("thread_joined", joined);
}

/* Loaded first and unloaded last in its thread: a thread-local destructor keeps its object loaded. */
static struct plugin passing_plugin;

static void *use_everything(void *unused) {
    main_register_in_thread();
    library_register_in_thread();
    library_cxx_register_in_thread();
    library_cxx_construct_in_thread();
    passing_plugin.register_in_thread();
    return unused;
}

void register_everything(void) {
    struct plugin resident;

    log_step("vague_shared", library_vague_shares(library_cxx_inline_variable()));
    main_register();
    library_register();
    library_cxx_register();
    library_cxx_construct();
    resident = plugin_load("plugin_resident.so");
    resident.do_register();
    passing_plugin = plugin_load("plugin_unloaded.so");
    passing_plugin.do_register();

    /* This thread goes on until exit: its thread-local destructors run there, its keys' destructors never. */
    main_register_in_thread();
    library_register_in_thread();
    library_cxx_register_in_thread();
    library_cxx_construct_in_thread();
    resident.register_in_thread();

    in_thread(use_everything);
    passing_plugin.delete_key();
    plugin_unload(&passing_plugin);
    log_step("unloaded_is_loaded", plugin_is_loaded("plugin_unloaded.so"));
}

static void list_scenarios(void) {
    for (const struct scenario *scenario = scenarios; scenario->name != NULL; scenario++)
        printf("%s\t%d\t%s\n", scenario->name, scenario->status, scenario->summary);
}

int main(int argc, char **argv) {
    /* stdio flushes this after all destructors: what the program printed must still be readable then. */
    static char output_buffer[BUFSIZ];
    const char *name = argc > 1 ? argv[1] : scenarios[0].name;
    const struct scenario *scenario = scenarios;

    program_invocation_short_name = (char *)"dl_debug_test"; /* errx prints it; the vanilla build prints the same */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (strcmp(name, "--list") == 0) {
        list_scenarios();
        fflush(stdout);
        _exit(0); /* the list alone: no destructor that writes its line after it */
    }
    while (scenario->name != NULL && strcmp(scenario->name, name) != 0)
        scenario++;
    if (scenario->name == NULL) {
        fprintf(stderr, "dl_debug_test: %s: no such scenario; dl_debug_test --list prints them\n", name);
        return 2;
    }
    setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);
    printf("scenario %s: flushed after the last destructor\n", scenario->name);
    return scenario->run();
}
