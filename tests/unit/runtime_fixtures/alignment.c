/* `alignment [quick]`: a destructor of every kind, each of which tells how the stack was aligned when it was called. Linked with
 * alignment.S and -Wl,-fini,probe_fini. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int __cxa_atexit(void (*)(void *), void *, void *);
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

void probe_fini(void);
void probe_fini_array(void);
void probe_cxa_atexit(void *argument);
void probe_atexit(void);
void probe_on_exit(int status, void *argument);
void probe_quick_exit(void);
void probe_thread_atexit(void *argument);
void probe_pthread_key(void *value);

void probed(unsigned long off, const char *name) __attribute__((visibility("hidden")));
void probed(unsigned long off, const char *name) { dprintf(1, "%s %lu\n", name, off); }

__attribute__((section(".fini_array"), used)) static void (*const entry)(void) = probe_fini_array;

static void *in_thread(void *key) {
    __cxa_thread_atexit_impl(probe_thread_atexit, NULL, &__dso_handle);
    pthread_setspecific(*(pthread_key_t *)key, key);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_key_t key;
    pthread_t thread;
    (void)argv;
    pthread_key_create(&key, probe_pthread_key);
    pthread_create(&thread, NULL, in_thread, &key);
    pthread_join(thread, NULL);
    __cxa_atexit(probe_cxa_atexit, NULL, &__dso_handle);
    atexit(probe_atexit);
    on_exit(probe_on_exit, NULL);
    at_quick_exit(probe_quick_exit);
    if (argc > 1) {
        quick_exit(3);
    }
    return 3;
}
