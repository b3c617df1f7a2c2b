/* `storm SEED PLUGIN...`: threads that begin, end, load and unload at random while the process exits in their midst. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS = 4, BEFORE = 40 };

static char **plugins;
static uint32_t plugin_count;
static _Atomic uint32_t rounds;
static pthread_key_t key;
/* RACES: for test_threads_sanitized.py. */
#ifdef RACES
static char of_main[64];
#else
static _Atomic char of_main[64];
#endif

static uint32_t next_random(uint32_t *random) { return (*random = *random * 1664525u + 1013904223u) >> 16; }

static void load_and_unload(uint32_t *random) {
    void *plugin = dlopen(plugins[next_random(random) % plugin_count], RTLD_NOW | RTLD_LOCAL);
    void (*at_thread_end)(void);

    if (plugin == NULL)
        abort();
    *(void **)&at_thread_end = dlsym(plugin, "storm_at_thread_end");
    if (at_thread_end == NULL)
        abort();
    if (next_random(random) % 4 == 0)
        at_thread_end(); /* keeps the object until this thread has ended */
    if (next_random(random) % 8 != 0)
        dlclose(plugin);
}

static void key_gone(void *value) { of_main[(uintptr_t)value % sizeof of_main]++; }

static void *life(void *seed) {
    uint32_t random = (uint32_t)(uintptr_t)seed * 2654435761u;
    const uint32_t length = 1 + next_random(&random) % 8;

    if (pthread_setspecific(key, seed) != 0)
        abort();
    for (uint32_t i = 0; i < length; i++) {
        load_and_unload(&random);
        rounds++;
    }
    return NULL;
}

static void *lives(void *seed) {
    for (uintptr_t i = 0;; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, life, (void *)((uintptr_t)seed * 1000 + i)) != 0)
            abort();
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void at_exit(void) { of_main[0] = 'x'; }

int main(int argc, char **argv) {
    pthread_t thread;

    if (argc < 3)
        return 98;
    plugins = argv + 2;
    plugin_count = (uint32_t)argc - 2;
    if (pthread_key_create(&key, key_gone) != 0 || atexit(at_exit) != 0)
        return 97;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, lives, (void *)(strtoul(argv[1], NULL, 10) * 100 + i + 1)) != 0)
            return 96;
    while (rounds < BEFORE)
        usleep(100);
    exit(7);
}
