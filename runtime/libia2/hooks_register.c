/* The registration functions that programs call, in front of glibc's: each keeps a record and hands glibc a stub and a number. */
#include <errno.h>
#include <threads.h>

#include "backend.h"
#include "events.h"
#include "namespace.h"
#include "objects.h"
#include "ordered.h"
#include "owner.h"
#include "probe.h"
#include "records.h"
#include "run.h"
#include "sealed.h"
#include "stubs.h"
#include "takeover.h"
#include "tally.h"
#include "vault.h"

/* The records behind the stubs that get no number: by stub, and for keys the stub by key. 0: free. */
static _Atomic ia2_record_number key_records[IA2_KEY_STUBS] IA2_LARGE;
static _Atomic uint16_t stub_of_key[IA2_KEY_STUBS] IA2_LARGE; /* stub + 1 */
static _Atomic ia2_record_number quick_records[IA2_QUICK_STUBS] IA2_LARGE;

/* Rule 2 for the common case, from the cache: an argument and a call site in the object that `dso` points into. */
static inline bool owner_is_cached(const struct exit_record *record, const struct ia2_owner_cache *cache) {
    return ia2_record_dso(record) == cache->dso && cache->plain && cache->epoch == ia2_objects_epoch() &&
           record->registrar - cache->start < cache->size &&
           (record->argument == 0 || record->argument - cache->start < cache->size);
}

/* What a registration says. */
struct registration {
    enum ia2_exit_kind kind;
    uintptr_t function, argument, dso, registrar;
};

/* A record whose owner is known, live and behind an open gate; NULL when there is no room or the runtime is not set up: the caller
 * then passes the registration on as it came, and the destructor runs uncovered (`bypassed`). */
static inline struct exit_record *make_record(const struct registration *given, uint32_t pkru) {
    struct exit_record *record = ia2_sealed.ready ? ia2_record_new() : NULL;
    if (!record) {
        ia2_count(&ia2_counters.bypassed);
        return NULL;
    }
    record->function = given->function;
    record->argument = given->argument;
    atomic_store_explicit(&record->dso, given->dso, memory_order_relaxed);
    record->registrar = given->registrar;
    record->kind = (uint8_t)given->kind;
    record->flags = given->kind == IA2_EXIT_PTHREAD_KEY ? IA2_REPEATED : 0;
    record->also = 0;
    const struct ia2_owner_cache *cache = &ia2_self()->owner_cache;
    if (given->dso != 0 && owner_is_cached(record, cache)) {
        record->owner = cache->owner;
    } else {
        ia2_owner_resolve(record);
    }
    if (__builtin_expect(ia2_sealed.runtime_bits != 0, 0)) {
        ia2_owner_restrict(record, pkru);
    }
    ia2_record_publish(record);
    return record;
}

/* The number for glibc to keep; 0: pass the registration on. Legacy mode keeps nothing. What glibc says of a NULL function (it aborts at
 * once) it must say itself. */
static inline ia2_record_number new_record(const struct registration *given) {
    if (__builtin_expect(given->function == 0, 0)) {
        return 0;
    }
    uint32_t before = ia2_gate_open();
    const struct exit_record *record = make_record(given, before);
    ia2_record_number number = record ? atomic_load_explicit(&record->number, memory_order_relaxed) : 0;
    ia2_gate_close(before);
    return number;
}

/* Says that the registration stands, or takes the record back where glibc refused it. */
static int finish(ia2_record_number number, int result) {
    if (__builtin_expect(result != 0 || ia2_sealed.tracing, 0)) {
        uint32_t before = ia2_gate_open();
        struct exit_record *record = ia2_record_find(number);
        if (record && result != 0) {
            ia2_untally_registration(record);
            ia2_record_return(record);
        } else if (record) {
            ia2_event_register(record);
        }
        ia2_gate_close(before);
    }
    return result;
}

static void run_record(struct exit_record *record, uintptr_t first, uintptr_t second) {
    if (!record) {
        ia2_count(&ia2_counters.refused);
        ia2_event_fault("a destructor was refused", "glibc came back with a number that names no live record");
        return;
    }
    const struct ia2_thread *thread = ia2_self();
    bool unloading = thread->unloading || thread->finalising;
    bool at_exit_only =
        record->kind == IA2_EXIT_CXA_ATEXIT || record->kind == IA2_EXIT_ATEXIT || record->kind == IA2_EXIT_ON_EXIT;
    if (at_exit_only && !unloading && !thread->exits) {
        ia2_exit_begin(IA2_EXIT_FROM_DESTRUCTOR,
                       IA2_STATUS_UNKNOWN); /* errx and its like: no hook of ours saw the exit */
    }
    ia2_run_with(record, first, second);
    /* An exiting process keeps its records: they are the evidence, and nobody needs the room. */
    if (!ia2_exiting()) {
        ia2_record_free(record);
    }
    ia2_ordered_before();
    ia2_close_when_idle(ia2_self());
}

/* ---- __cxa_atexit and its relatives ------------------------------------------------------------------------------- */

static void run_cxa_behind_gate(ia2_record_number number, int status) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = ia2_record_find(number);
    run_record(record, record ? record->argument : 0, (uintptr_t)(unsigned)status);
    ia2_gate_close(before);
}

static void run_cxa(void *given, int status) {
    const ia2_record_number number = (ia2_record_number)given;
    if (__builtin_expect(ia2_sealed.runtime_bits != 0, 0)) {
        run_cxa_behind_gate(number, status);
        return;
    }
    struct exit_record *record = ia2_record_find(number);
    if (__builtin_expect(!record, 0)) {
        run_record(NULL, 0, 0);
    } else if (__builtin_expect(atomic_load_explicit(&ia2_unwatched_exit, memory_order_relaxed), 1)) {
        /* What ia2_run_destructor() comes down to when nobody watches. glibc hands each number out once. */
        atomic_store_explicit(&record->number, number & IA2_GENERATION_MASK, memory_order_relaxed);
        atomic_store_explicit(&record->state, IA2_RUNNING, memory_order_relaxed);
        IA2_PROBE_DESTRUCTOR(record);
        ((void (*)(uintptr_t, int))record->function)(record->argument, status);
        atomic_store_explicit(&record->state, IA2_DONE, memory_order_relaxed);
    } else {
        ia2_run_alike(record, (uintptr_t)(unsigned)status, run_record);
    }
}

static void run_on_exit(int status, void *number) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = ia2_record_find((ia2_record_number)number);
    run_record(record, (uintptr_t)(unsigned)status, record ? record->argument : 0);
    ia2_gate_close(before);
}

static inline int register_cxa(const struct registration *given, ia2_registration_function real) {
    ia2_record_number number = new_record(given);
    if (number == 0) {
        return real((void (*)(void *))given->function, (void *)given->argument, (void *)given->dso);
    }
    return finish(number, real((void (*)(void *))(void *)run_cxa, (void *)number, (void *)given->dso));
}

IA2_PUBLIC int __cxa_atexit(void (*function)(void *), void *argument, void *dso) {
    ia2_real_resolve();
    const struct registration given = {IA2_EXIT_CXA_ATEXIT, (uintptr_t)function, (uintptr_t)argument, (uintptr_t)dso,
                                       (uintptr_t)__builtin_return_address(0)};
    return register_cxa(&given, ia2_sealed.real.cxa_atexit);
}

/* No atexit here: glibc exports none on x86-64, each object has one of its own (libc_nonshared) that passes its dso_handle to
 * __cxa_atexit. If we exported one, the linker would bind objects that link us to it and the dso_handle would be lost: dlclose
 * could not run their handlers. */
IA2_PUBLIC int on_exit(void (*function)(int, void *), void *argument) {
    ia2_real_resolve();
    const struct registration given = {IA2_EXIT_ON_EXIT, (uintptr_t)function, (uintptr_t)argument, 0,
                                       (uintptr_t)__builtin_return_address(0)};
    ia2_record_number number = new_record(&given);
    if (number == 0) {
        return ia2_sealed.real.on_exit(function, argument);
    }
    return finish(number, ia2_sealed.real.on_exit(run_on_exit, (void *)number));
}

IA2_PUBLIC int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *dso) {
    ia2_real_resolve();
    const struct registration given = {IA2_EXIT_THREAD_ATEXIT, (uintptr_t)function, (uintptr_t)argument, (uintptr_t)dso,
                                       (uintptr_t)__builtin_return_address(0)};
    return register_cxa(&given, ia2_sealed.real.cxa_thread_atexit_impl);
}

/* ---- the same in namespaces that dlmopen made --------------------------------------------------------------------- */

static int register_in_namespace(const struct registration *given, enum ia2_registration which) {
    uint32_t before = ia2_gate_open();
    ia2_registration_function real = ia2_namespace_real(given->dso ? given->dso : given->registrar, which);
    ia2_gate_close(before);
    return register_cxa(given, real);
}

int ia2_namespace_cxa_atexit(void (*function)(void *), void *argument, void *dso) {
    const struct registration given = {IA2_EXIT_CXA_ATEXIT, (uintptr_t)function, (uintptr_t)argument, (uintptr_t)dso,
                                       (uintptr_t)__builtin_return_address(0)};
    return register_in_namespace(&given, IA2_CXA_ATEXIT);
}

int ia2_namespace_cxa_thread_atexit(void (*function)(void *), void *argument, void *dso) {
    const struct registration given = {IA2_EXIT_THREAD_ATEXIT, (uintptr_t)function, (uintptr_t)argument, (uintptr_t)dso,
                                       (uintptr_t)__builtin_return_address(0)};
    return register_in_namespace(&given, IA2_CXA_THREAD_ATEXIT);
}

/* ---- quick_exit: the handler gets no argument of ours, so each has a stub of its own -------------------------------- */

void ia2_run_quick(uint32_t stub, int status);

void ia2_run_quick(uint32_t stub, int status) {
    uint32_t before = ia2_gate_open();
    run_record(ia2_record_find(atomic_load(&quick_records[stub])), 0, (uintptr_t)(unsigned)status);
    ia2_gate_close(before);
}

/* Puts `number` into a free place of a table of records behind stubs. Returns the place, `count` where none is free. */
static uint32_t take_stub(_Atomic ia2_record_number *table, uint32_t count, ia2_record_number number) {
    for (uint32_t stub = 0; stub < count; stub++) {
        ia2_record_number none = 0;
        if (atomic_load_explicit(&table[stub], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&table[stub], &none, number)) {
            return stub;
        }
    }
    return count;
}

/* A record and a stub for it: the stub's number, or `count` where either is missing. */
static uint32_t new_stub(const struct registration *given, _Atomic ia2_record_number *table, uint32_t count,
                         ia2_record_number *number) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = make_record(given, before);
    uint32_t stub = count;
    if (record) {
        *number = atomic_load_explicit(&record->number, memory_order_relaxed);
        stub = take_stub(table, count, *number);
    }
    if (record && stub == count) {
        ia2_untally_registration(record);
        ia2_record_return(record);
        ia2_count(&ia2_counters.bypassed);
    }
    ia2_gate_close(before);
    return stub;
}

static void give_stub_back(_Atomic ia2_record_number *place) {
    uint32_t before = ia2_gate_open();
    atomic_store(place, 0);
    ia2_gate_close(before);
}

IA2_PUBLIC int __cxa_at_quick_exit(void (*function)(void *), void *dso) {
    ia2_real_resolve();
    const struct registration given = {IA2_EXIT_QUICK_EXIT, (uintptr_t)function, 0, (uintptr_t)dso,
                                       (uintptr_t)__builtin_return_address(0)};
    ia2_record_number number = 0;
    uint32_t stub = new_stub(&given, quick_records, IA2_QUICK_STUBS, &number);
    if (stub == IA2_QUICK_STUBS) {
        return ia2_sealed.real.cxa_at_quick_exit(function, dso);
    }
    int result = ia2_sealed.real.cxa_at_quick_exit((void (*)(void *))ia2_quick_stub(stub), dso);
    if (result != 0) {
        give_stub_back(&quick_records[stub]);
    }
    return finish(number, result);
}

/* glibc has dropped the handlers of an object that it unloaded (__cxa_finalize): their stubs are free again. */
void ia2_forget_quick(uintptr_t start, uintptr_t end) {
    for (uint32_t stub = 0; stub < IA2_QUICK_STUBS; stub++) {
        ia2_record_number number = atomic_load(&quick_records[stub]);
        struct exit_record *record = number ? ia2_record_find(number) : NULL;
        if (record && ia2_record_dso(record) >= start && ia2_record_dso(record) < end) {
            atomic_store(&quick_records[stub], 0);
            ia2_record_free(record);
        }
    }
}

/* ---- pthread keys: likewise, and they run many times --------------------------------------------------------------- */

void ia2_run_key(void *value, uint32_t stub);

void ia2_run_key(void *value, uint32_t stub) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = ia2_record_find(atomic_load(&key_records[stub]));
    if (record) { /* else the key was deleted while this thread was ending: glibc may or may not have called it */
        ia2_run_with(record, (uintptr_t)value, 0);
        ia2_close_when_idle(ia2_self());
    }
    ia2_gate_close(before);
}

static void remember_key(pthread_key_t key, uint32_t stub) {
    uint32_t before = ia2_gate_open();
    if (key < IA2_KEY_STUBS) {
        atomic_store(&stub_of_key[key], (uint16_t)(stub + 1));
    }
    ia2_gate_close(before);
}

static int key_create(pthread_key_t *key, void (*destructor)(void *), uintptr_t registrar) {
    ia2_real_resolve();
    if (!destructor) {
        return ia2_sealed.real.key_create(key, NULL);
    }
    const struct registration given = {IA2_EXIT_PTHREAD_KEY, (uintptr_t)destructor, 0, 0, registrar};
    ia2_record_number number = 0;
    uint32_t stub = new_stub(&given, key_records, IA2_KEY_STUBS, &number);
    if (stub == IA2_KEY_STUBS) { /* as many live keys as glibc has: it will say so itself */
        return ia2_sealed.real.key_create(key, destructor);
    }
    int result = ia2_sealed.real.key_create(key, (void (*)(void *))ia2_key_stub(stub));
    if (result != 0) {
        give_stub_back(&key_records[stub]);
    } else {
        remember_key(*key, stub);
    }
    return finish(number, result);
}

IA2_PUBLIC int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    return key_create(key, destructor, (uintptr_t)__builtin_return_address(0));
}

/* libstdc++ calls it by this name. */
IA2_PUBLIC int __pthread_key_create(pthread_key_t *key, void (*destructor)(void *));

int __pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    return key_create(key, destructor, (uintptr_t)__builtin_return_address(0));
}

/* C11 threads: glibc's own tss_create calls pthread_key_create inside libc, where nobody can stand in front. */
IA2_PUBLIC int tss_create(tss_t *key, tss_dtor_t destructor) {
    int result = key_create(key, destructor, (uintptr_t)__builtin_return_address(0));
    return result == 0 ? thrd_success : result == ENOMEM ? thrd_nomem : thrd_error;
}

/* Takes the stub of a key, before glibc may give the number to another thread. 0: it has none. */
static uint16_t forget_key(pthread_key_t key) {
    uint32_t before = ia2_gate_open();
    uint16_t stub = key < IA2_KEY_STUBS ? atomic_exchange(&stub_of_key[key], 0) : 0;
    ia2_gate_close(before);
    return stub;
}

static void free_key(uint16_t stub) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = ia2_record_find(atomic_exchange(&key_records[stub - 1u], 0));
    if (record) {
        ia2_record_free(record);
    }
    ia2_gate_close(before);
}

IA2_PUBLIC int pthread_key_delete(pthread_key_t key) {
    ia2_real_resolve();
    uint16_t stub = forget_key(key);
    int result = ia2_sealed.real.key_delete(key);
    if (stub != 0 && result != 0) {
        remember_key(key, stub - 1u);
    } else if (stub != 0) {
        free_key(stub);
    }
    return result;
}

IA2_PUBLIC void tss_delete(tss_t key) { (void)pthread_key_delete(key); }
