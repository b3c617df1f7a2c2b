/* Destructors within destructors: `nesting SCENARIO [PLUGIN]`. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static volatile int own;
static void *plugin;
static void (*plugin_register_found)(void);

static void main_at_exit(void) { CHECK_OWN(main_at_exit, &own); }

static void load(const char *path) {
    plugin = dlopen(path, RTLD_NOW);
    CHECK(plugin);
    plugin_register_found = (__typeof__(plugin_register_found))dlsym(plugin, "plugin_register");
    CHECK(plugin_register_found);
    plugin_register_found();
}

static void unload(void) {
    rights_say("dlclose");
    CHECK(dlclose(plugin) == 0);
    rights_say("dlclose returned");
}

static void main_unloads(void) {
    CHECK_OWN(main_unloads, &own);
    uint32_t before = rights_now();
    unload();
    CHECK((rights_now() & ~before) == 0); /* the plugin may have got a key, which is open now */
    before = rights_now();
    CHECK_OWN(main_unloads, &own);
}

/* What a destructor of a library calls: code of this object with its rights, so it touches nothing of main. */
static void exits(void) { exit(4); }

static void forks(void) {
    uint32_t before = rights_now();
    pid_t child = fork();
    CHECK(child >= 0);
    CHECK(rights_now() == before);
    if (child == 0) {
        rights_say("child");
        return;
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    rights_say("parent");
}

static void spawns(void) {
    uint32_t before = rights_now();
    int status = system("exit 5");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    CHECK(rights_now() == before);
    rights_say("spawned");
}

static void *thread(void *unused) {
    a_register_in_thread();
    return unused;
}

/* Before the exit phase everything is open, but for the time of a destructor. */
static void early(const char *path) {
    load(path);
    uint32_t before = rights_now();
    CHECK(rights_open(before, rights_key_of((const void *)&own)));
    unload();
    CHECK((rights_now() & ~before) == 0); /* the plugin may have got a key, which is open now */
    before = rights_now();
    own += a_data + b_data;
    pthread_t started;
    CHECK(pthread_create(&started, NULL, thread, NULL) == 0);
    CHECK(pthread_join(started, NULL) == 0);
    rights_say("joined");
    CHECK(rights_now() == before);
    own += a_data + b_data;
}

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    b_register();
    CHECK(atexit(main_at_exit) == 0);
    if (strcmp(scenario, "exit") == 0) {
        a_register_action(exits);
        return 3;
    }
    if (strcmp(scenario, "register") == 0) {
        a_register_action(a_register);
        return 3;
    }
    if (strcmp(scenario, "fork") == 0) {
        a_register_action(forks);
        return 3;
    }
    if (strcmp(scenario, "spawn") == 0) {
        a_register_action(spawns);
        return 3;
    }
    if (strcmp(scenario, "quick") == 0) {
        CHECK(at_quick_exit(main_at_exit) == 0);
        quick_exit(3);
    }
    CHECK(argc > 2);
    if (strcmp(scenario, "unload") == 0) {
        load(argv[2]);
        CHECK(atexit(main_unloads) == 0);
        return 3;
    }
    if (strcmp(scenario, "early") == 0) {
        early(argv[2]);
        return 3;
    }
    CHECK(!"a scenario of this program");
}
