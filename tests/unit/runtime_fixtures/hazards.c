/* `hazards SCENARIO [LIBRARY...]`: what is allowed, and easily forgotten by whoever stands in front of libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <iconv.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

enum { THREADS = 4 };

static void fail(const char *what) {
    dprintf(2, "%s\n", what);
    _Exit(98);
}

static void *load(const char *path) {
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle) {
        fail(dlerror());
    }
    return handle;
}

static void run_threads(int count, void *(*start)(void *), void *(*argument)(int)) {
    pthread_t threads[THREADS];
    for (int i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, start, argument(i)) != 0) {
            fail("pthread_create");
        }
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void *nothing(int i) {
    (void)i;
    return NULL;
}

/* ---- keys that several threads make and delete: glibc gives a number out again at once ---- */

static _Atomic int keys_run;
static void key_ran(void *value) {
    (void)value;
    keys_run++;
}

static void *make_and_delete(void *unused) {
    for (int i = 0; i < 20000; i++) {
        pthread_key_t key;
        if (pthread_key_create(&key, key_ran) != 0 || pthread_key_delete(key) != 0) {
            fail("key");
        }
    }
    return unused;
}

static pthread_key_t keys[900];
static void *set_keys(void *unused) {
    for (int i = 0; i < 900; i++) {
        pthread_setspecific(keys[i], keys);
    }
    return unused;
}

static void key_race(char **unused) {
    (void)unused;
    run_threads(THREADS, make_and_delete, nothing);
    for (int i = 0; i < 900; i++) {
        if (pthread_key_create(&keys[i], key_ran) != 0) {
            fail("too few keys left");
        }
    }
    run_threads(1, set_keys, nothing);
    dprintf(1, "%d keys\n", keys_run);
}

/* ---- objects that are being relocated while another thread loads and unloads ---- */

static char **libraries;
static void *library_of(int i) { return libraries[i % 2]; }

static void *load_and_unload(void *path) {
    for (int i = 0; i < 150; i++) {
        dlclose(load(path));
    }
    return NULL;
}

static void relocating(char **paths) {
    libraries = paths;
    run_threads(THREADS, load_and_unload, library_of);
}

/* ---- thread ends on the smallest stack that there is ---- */

static void small_handler(void *value) { dprintf(1, "%s\n", (const char *)value); }
static pthread_key_t small_key;

static void *small_thread(void *unused) {
    pthread_setspecific(small_key, "key");
    __cxa_thread_atexit_impl(small_handler, (void *)(uintptr_t)"thread", &__dso_handle);
    return unused;
}

static void small_stack(char **unused) {
    (void)unused;
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_key_create(&small_key, small_handler);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
    if (pthread_create(&thread, &attributes, small_thread, NULL) != 0) {
        fail("pthread_create");
    }
    pthread_join(thread, NULL);
}

/* ---- a thread's destructor that ends its thread: the frames between are unwound ---- */

static void leaves(void *value) {
    dprintf(1, "%s leaves\n", (const char *)value);
    pthread_exit(NULL);
}

static void *ends_in_destructor(void *unused) {
    __cxa_thread_atexit_impl(small_handler, (void *)(uintptr_t)"outer", &__dso_handle);
    __cxa_thread_atexit_impl(leaves, (void *)(uintptr_t)"inner", &__dso_handle);
    return unused;
}

static void unwind(char **unused) {
    (void)unused;
    run_threads(1, ends_in_destructor, nothing);
    dprintf(1, "joined\n");
}

/* ---- handlers of quick_exit in an object that comes and goes ---- */

static void at_quick(void) { dprintf(1, "quick\n"); }

static void quick_rounds(char **paths) {
    for (int i = 0; i < 600; i++) {
        dlclose(load(paths[0]));
    }
    at_quick_exit(at_quick);
    quick_exit(3);
}

/* ---- two objects of one compartment, one of which goes ---- */

static void one_of_two(char **paths) {
    void *first = load(paths[0]);
    load(paths[1]);
    dlclose(first);
}

/* ---- objects that libc itself loads and unloads ---- */

static void conversions(char **unused) {
    static const char *const sets[] = {"UTF-7", "EUC-JP", "IBM850", "BIG5", "KOI8-R", "ISO-2022-KR", "SJIS", "GB18030"};
    (void)unused;
    for (int i = 0; i < 400; i++) {
        iconv_t conversion = iconv_open("UTF-8", sets[i % 8]);
        if (conversion == (iconv_t)-1) {
            fail("iconv_open");
        }
        iconv_close(conversion);
    }
}

/* ---- a handler that becomes another program ---- */

static void become(void) { execl("/bin/echo", "echo", "become", (char *)NULL); }

static void exec_in_handler(char **unused) {
    (void)unused;
    atexit(become);
}

/* ---- the numbers of the next descriptors ---- */

static void next_descriptor(char **unused) {
    (void)unused;
    exit(100 + open("/dev/null", O_RDWR));
}

/* ---- no function ---- */

int __cxa_atexit(void (*function)(void *), void *argument, void *dso);

static void null_function(char **unused) {
    (void)unused;
    __cxa_atexit(NULL, NULL, NULL);
    dprintf(1, "registered\n");
}

static const struct {
    const char *name;
    void (*run)(char **paths);
} scenarios[] = {{"key-race", key_race},         {"relocating", relocating},
                 {"small-stack", small_stack},   {"unwind", unwind},
                 {"quick-rounds", quick_rounds}, {"one-of-two", one_of_two},
                 {"conversions", conversions},   {"exec-in-handler", exec_in_handler},
                 {"next", next_descriptor},      {"null-function", null_function}};

static void last(void) { dprintf(1, "last\n"); }

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            atexit(last);
            scenarios[i].run(argv + 2);
            return 3;
        }
    }
    return 99;
}
