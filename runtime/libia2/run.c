#include "run.h"

#include "events.h"
#include "objects.h"
#include "system.h"
#include "takeover.h"

__thread struct ia2_thread ia2_thread;
struct ia2_counters ia2_counters;
bool ia2_unwatched_exit;

static _Atomic bool exiting;
static _Atomic uint64_t sequence;

bool ia2_exiting(void) { return atomic_load_explicit(&exiting, memory_order_relaxed); }

void ia2_exit_begin(enum ia2_exit_how how, int status) {
    static const char *const names[] = {"main", "exit", "quick_exit", "destructor"};
    if (ia2_exiting() || atomic_exchange(&exiting, true)) {
        return;
    }
    ia2_event_exit(names[how], status);
    ia2_objects_sync();
    ia2_unwatched_exit = !ia2_watching;
}

bool ia2_pkru_of(uint16_t id, uint32_t *pkru) {
    *pkru = IA2_PKRU_SHARED;
    if (id > IA2_LAST_KEY) {
        return false;
    }
    *pkru &= ~(3u << (2 * id));
    return true;
}

/* The rights that `record` runs with. Nobody's record gets all rights, until policies exist (docs/exit-handling.md, "Ownership", 6). */
static bool wanted_pkru(const struct exit_record *record, uint32_t *pkru) {
    if (record->owner == IA2_NO_OWNER) {
        *pkru = IA2_PKRU_OPEN;
        return true;
    }
    bool known = ia2_pkru_of(record->owner, pkru);
    if (record->flags & IA2_VAGUE) {
        uint32_t other;
        known = ia2_pkru_of(record->also, &other) && known;
        *pkru &= other;
    }
    return known;
}

bool ia2_running(struct ia2_running *now) {
    *now = ia2_thread.running;
    return now->record != NULL;
}

static void call(uintptr_t function, uintptr_t first, uintptr_t second) {
    /* Every kind fits this type: arguments that a function does not take stay unread in their registers. */
    ((void (*)(uintptr_t, uintptr_t))function)(first, second);
}

/* The same with events around it. Time is counted from just before the call to just after it, without our writing. */
static void call_traced(const struct exit_record *record, uintptr_t first, uintptr_t second) {
    uint64_t number = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
    uint32_t resting = ia2_exiting() ? IA2_PKRU_SHARED : IA2_PKRU_OPEN;
    uint32_t before = ia2_thread.depth ? ia2_thread.pkru : resting;
    uint32_t wanted;
    bool known = wanted_pkru(record, &wanted);
    if (record->owner == IA2_NO_OWNER) {
        ia2_event_fallback(record, number);
    }
    ia2_event_enter(record, number, before, known, wanted);
    ia2_thread.pkru = wanted;
    ia2_thread.depth++;
    struct ia2_running outer = ia2_thread.running;
    ia2_thread.running = (struct ia2_running){record, number};
    uint64_t overhead = ia2_thread.overhead;
    uint64_t start = ia2_now();
    call(record->function, first, second);
    uint64_t spent = ia2_now() - start;
    overhead = ia2_thread.overhead - overhead;
    ia2_thread.running = outer;
    ia2_thread.depth--;
    ia2_thread.pkru = before;
    ia2_event_leave(record, number, spent > overhead ? spent - overhead : 0, before);
}

static void refuse(const char *detail) {
    ia2_count(&ia2_counters.refused);
    ia2_event_fault("a destructor was refused", detail);
}

void ia2_run_destructor(const struct exit_record *given) {
    uint32_t index = ia2_record_index(given);
    struct exit_record *record = ia2_record_at(index);
    if (!record) {
        refuse("the record is not in the runtime's table");
        return;
    }
    uintptr_t first = record->argument;
    uintptr_t second = 0;
    if (ia2_thread.record == record) {
        first = ia2_thread.first;
        second = ia2_thread.second;
        ia2_thread.record = NULL;
    }
    if (!ia2_record_claim(record)) {
        refuse("its record is not live: it has run already, or was never registered");
        return;
    }
    if (__builtin_expect(record->owner == IA2_NO_OWNER, 0)) {
        ia2_count(&ia2_counters.fallback);
    }
    if (__builtin_expect(ia2_tracing, 0)) {
        call_traced(record, first, second);
    } else {
        call(record->function, first, second);
    }
    if (record->flags & IA2_REPEATED) {
        ia2_count(&ia2_counters.ran);
    } else {
        atomic_store_explicit(&record->state, IA2_DONE, memory_order_release);
    }
}

void ia2_run_with(const struct exit_record *record, uintptr_t first, uintptr_t second) {
    ia2_thread.record = record;
    ia2_thread.first = first;
    ia2_thread.second = second;
    ia2_run_destructor(record);
}
