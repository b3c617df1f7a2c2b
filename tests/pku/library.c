#include "library.h"

#include <stdlib.h>

#include "ia2_exit_note.h"
#include "marker.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(COMPARTMENT);

#define NAME(name) PASTE(PART, name)

extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);

volatile int NAME(data) = 1;
static volatile int own;
static void (*action)(void);
static pthread_key_t key;

__attribute__((destructor)) static void NAME(fini_array)(void) { CHECK_OWN(NAME(fini_array), &own); }

static void NAME(at_exit)(void) { CHECK_OWN(NAME(at_exit), &own); }

void NAME(register)(void) { CHECK(atexit(NAME(at_exit)) == 0); }

static void NAME(quiet)(void) { own += 1; }

void NAME(register_quiet)(void) { CHECK(atexit(NAME(quiet)) == 0); }

static void NAME(mark)(void) { MARK(); }

void NAME(register_mark)(void) { CHECK(atexit(NAME(mark)) == 0); }

static void NAME(act)(void) {
    CHECK_OWN(NAME(act), &own);
    uint32_t before = rights_now();
    action();
    CHECK(rights_now() == before);
    CHECK_OWN(NAME(act), &own);
}

void NAME(register_action)(void (*given)(void)) {
    action = given;
    CHECK(atexit(NAME(act)) == 0);
}

static void NAME(act_freely)(void) {
    CHECK_OWN(NAME(act_freely), &own);
    action();
}

void NAME(register_free_action)(void (*given)(void)) {
    action = given;
    CHECK(atexit(NAME(act_freely)) == 0);
}

static void NAME(thread_local)(void *object) {
    CHECK(object == (void *)&own);
    CHECK_OWN(NAME(thread_local), &own);
}

static void NAME(key_value)(void *value) {
    CHECK(value == (void *)&own);
    CHECK_OWN(NAME(key_value), &own);
}

void NAME(register_in_thread)(void) {
    CHECK(__cxa_thread_atexit_impl(NAME(thread_local), (void *)&own, &__dso_handle) == 0);
    CHECK(pthread_key_create(&key, NAME(key_value)) == 0);
    CHECK(pthread_setspecific(key, (void *)&own) == 0);
}

void NAME(touch)(long times) {
    while (times-- > 0) {
        NAME(data) += 1;
    }
}

void *NAME(dso)(void) { return &__dso_handle; }
