#include "run.h"

#include "attach.h"
#include "backend.h"
#include "changes.h"
#include "dispatch.h"
#include "events.h"
#include "objects.h"
#include "probe.h"
#include "system.h"
#include "tally.h"
#include "vault.h"

struct ia2_counters ia2_counters;
uintptr_t ia2_call_sp[2 * IA2_THREADS] IA2_LARGE;
_Atomic uint32_t ia2_runs[IA2_OWNERS][IA2_OUTCOMES] IA2_LARGE;

static _Atomic uint64_t sequence;

static void count_outcome(uint16_t owner, uint8_t outcome) {
    outcome = outcome < IA2_OUTCOMES ? outcome : IA2_SUCCESS;
    atomic_fetch_add_explicit(&ia2_runs[ia2_owner_row(owner)][outcome], 1, memory_order_relaxed);
}

void ia2_count_run(const struct exit_record *record) { count_outcome(record->owner, ia2_record_outcome(record)); }

void ia2_count_cut_off(const struct exit_record *record) {
    const uint8_t outcome = ia2_record_outcome(record);
    count_outcome(record->owner, outcome == IA2_SUCCESS ? IA2_UNFINISHED : outcome);
}

bool ia2_running(struct ia2_running *now) {
    const struct ia2_thread *thread = ia2_self();
    *now = (struct ia2_running){thread->running, thread->sequence};
    return now->record != NULL;
}

/* ---- order --------------------------------------------------------------------------------------------------------------------------- */

static inline bool is_listed(uint8_t kind) {
    return kind == IA2_EXIT_CXA_ATEXIT || kind == IA2_EXIT_ATEXIT || kind == IA2_EXIT_ON_EXIT;
}

/* At exit the handlers of the exit list run last registered first. One that was registered after the previous one, and before that one
 * ran, should have run before it. Slots that were never used before are in the order of registration; of others it cannot be told. */
static inline void check_order(ia2_record_number listed) {
    static uint32_t last, newest;
    const uint32_t number = (uint32_t)listed;
    if (listed >> 32 != 0) {
        return;
    }
    if (__builtin_expect(last != 0 && number > last && number <= newest, 0)) {
        ia2_count(&ia2_counters.out_of_order);
    }
    last = number;
    const uint32_t used = atomic_load_explicit(&ia2_records.used, memory_order_relaxed);
    if (newest != used) {
        newest = used;
    }
}

/* A finalised object runs its own handlers only, and so does a destructor that calls __cxa_finalize(): their order says nothing. */
static void check_order_of(const struct ia2_thread *thread, const struct exit_record *record) {
    bool of_one_object = thread->finalising || thread->unloading || thread->depth > 0;
    if (is_listed(record->kind) && ia2_exiting() && !of_one_object) {
        check_order((uint64_t)ia2_record_generation(record) << 32 | (ia2_record_place(record) + 1u));
    }
}

/* ---- rights -------------------------------------------------------------------------------------------------------------------------- */

/* Of the kinds whose `dso` says nothing (it is the place of the original in a run of a record that repeats): 0. */
static uintptr_t near_of(const struct exit_record *record) {
    return record->kind == IA2_EXIT_PTHREAD_KEY ? 0 : ia2_record_dso(record);
}

/* Nobody's record gets all rights, until policies exist (docs/exit-handling.md, "Ownership", 6). */
static struct ia2_rights rights_of(const struct exit_record *record) {
    if (record->owner == IA2_NO_OWNER || ia2_sealed.allow_all) {
        return (struct ia2_rights){.all = true};
    }
    uint16_t also = record->flags & IA2_VAGUE ? record->also : 0;
    return (struct ia2_rights){.owner = record->owner, .also = also, .near = also ? 0 : near_of(record)};
}

void ia2_run_resume_rights(struct ia2_thread *thread) {
    const struct ia2_rights rights = rights_of(thread->running);
    if (thread->closing) {
        (void)ia2_close_enter(thread, &rights);
    }
}

static uint8_t expected_outcome(const struct exit_record *record, const char *unenforced) {
    if (ia2_sealed.allow_all) {
        return IA2_BYPASSED;
    }
    if (record->owner == IA2_NO_OWNER) {
        return IA2_FALLBACK;
    }
    return unenforced && ia2_sealed.enforcing ? IA2_UNENFORCED : IA2_SUCCESS;
}

/* ---- the call -------------------------------------------------------------------------------------------------------------------------- */

_Static_assert(offsetof(struct ia2_call, arguments) == 8 && offsetof(struct ia2_call, stack) == 32 &&
                   offsetof(struct ia2_call, slot) == 40 && offsetof(struct ia2_call, place) == 44,
               "switch.S reads it");

/* Where the stack that a host runtime has for the owner ends now: where code of that compartment further out has left it, if any
 * runs. 0: stay on the present one. */
static uintptr_t stack_for(const struct ia2_thread *thread, const struct exit_record *record) {
    uintptr_t sp = 0; /* where `at` left its caller's stack; of the record itself: here */
    for (const struct exit_record *at = record; at;) {
        const struct exit_record *below = at->outer ? ia2_record_at(at->outer - 1u) : NULL;
        if (below ? below->owner == record->owner : ia2_host_compartment(at->outer_pkru) == record->owner) {
            return sp & ~(uintptr_t)15;
        }
        sp = at == record ? ia2_call_sp[ia2_thread_slot(thread)] : at->outer_sp;
        at = below;
    }
    return (uintptr_t)ia2_host_stack(record->owner == IA2_NO_OWNER ? 0 : record->owner);
}

static bool call_with_keys(struct ia2_thread *thread, struct exit_record *record, struct ia2_call *call) {
    if (ia2_host_attached()) {
        call->stack = stack_for(thread, record);
        if (!call->stack) { /* the present one is whose code was interrupted */
            thread->pkru &= record->outer_pkru | ia2_sealed.runtime_bits;
        }
    }
    ia2_sealed.wanted[call->slot] = thread->pkru;
    ia2_sealed.wanted[call->slot + IA2_THREADS] = record->outer_pkru;
    atomic_fetch_add_explicit(&ia2_tally_of(record->owner)->wrpkru, 2, memory_order_relaxed);
    return ia2_call_pku(call);
}

/* Returns true where it was abandoned. */
static bool call(struct ia2_thread *thread, struct exit_record *record, uintptr_t first, uintptr_t second,
                 bool closed) {
    const uint32_t slot = ia2_thread_slot(thread);
    const uint16_t in_handler = thread->in_handler;
    struct ia2_call call = {.function = record->function, .arguments = {first, second}, .slot = slot, .place = slot};
    record->outer_sp = ia2_call_sp[slot];
    IA2_PROBE_DESTRUCTOR(record);
    (void)ia2_dispatch_intercept(closed);
    bool abandoned = ia2_sealed.runtime_bits && slot != 0 ? call_with_keys(thread, record, &call) : ia2_call(&call);
    (void)ia2_dispatch_intercept(false);
    thread->in_handler = in_handler; /* one that was left by longjmp is no longer counted */
    ia2_call_sp[slot] = record->outer_sp;
    return abandoned;
}

/* Events and time around the call. Time is counted from just before it to just after it, without our writing. */
static bool call_traced(struct ia2_thread *thread, struct exit_record *record, uintptr_t first, uintptr_t second,
                        const char *unenforced, uint32_t before) {
    const uint64_t outer = thread->sequence;
    const uint64_t number = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
    const struct ia2_rights rights = rights_of(record);
    uint32_t wanted;
    bool known = ia2_pkru_of_rights(&rights, &wanted);
    if (record->owner == IA2_NO_OWNER) {
        ia2_event_fallback(record, number);
    }
    ia2_event_enter(record, number, before, known, wanted, ia2_sealed.enforcing ? unenforced : NULL);
    thread->sequence = number;
    uint64_t overhead = thread->overhead;
    uint64_t start = ia2_now();
    bool abandoned = call(thread, record, first, second, !unenforced);
    uint64_t spent = ia2_now() - start;
    overhead = thread->overhead - overhead;
    thread->sequence = outer;
    ia2_event_leave(record, number, spent > overhead ? spent - overhead : 0, before);
    return abandoned;
}

/* What PKRU is now, as far as it can be told: between destructors, outside them, or in the one that is interrupted. */
static uint32_t present_pkru(const struct ia2_thread *thread) {
    if (thread->depth > 0) {
        return thread->pkru;
    }
    if (ia2_sealed.backend == IA2_BACKEND_PKU) {
        return thread->resting ? thread->resting_pkru : ia2_rdpkru() | ia2_sealed.runtime_bits;
    }
    return thread->exits ? IA2_PKRU_SHARED : IA2_PKRU_OPEN;
}

/* The record is claimed: nobody else runs it. */
static void run(struct ia2_thread *thread, struct exit_record *record, uintptr_t first, uintptr_t second) {
    struct exit_record *outer = thread->running;
    const struct ia2_rights rights = rights_of(record);
    const struct ia2_rights around = thread->rights; /* of a destructor, of a signal handler within one, or none */
    record->outer_pkru = present_pkru(thread);
    record->outer = outer ? ia2_record_place(outer) + 1u : 0;
    ia2_close_catch_up(thread);
    const char *unenforced = ia2_sealed.enforcing ? ia2_close_enter(thread, &rights) : "nothing is enforced";
    if (ia2_sealed.backend != IA2_BACKEND_PKU) {
        ia2_pkru_of_rights(&rights, &thread->pkru); /* what it would be */
    } else if (unenforced) {
        thread->pkru = ia2_sealed.runtime_bits; /* everything but the runtime's own memory */
    }
    ia2_record_set_outcome(record, expected_outcome(record, unenforced));
    thread->running = record;
    thread->steps = 0;
    thread->depth++;
    bool abandoned = ia2_sealed.tracing ? call_traced(thread, record, first, second, unenforced, record->outer_pkru)
                                        : call(thread, record, first, second, !unenforced);
    (void)abandoned; /* its outcome says so */
    thread->depth--;
    thread->running = record->outer ? ia2_record_at(record->outer - 1u) : NULL;
    thread->pkru = record->outer_pkru;
    if (ia2_sealed.runtime_bits && thread->running) {
        const uint32_t slot = ia2_thread_slot(thread);
        ia2_sealed.wanted[slot] = thread->pkru;
        ia2_sealed.wanted[slot + IA2_THREADS] = thread->running->outer_pkru;
    }
    if (ia2_sealed.enforcing) {
        ia2_close_leave(thread, &around);
    }
}

/* A record that repeats may run in several threads at once: each run has a record of its own. */
static void run_again(struct ia2_thread *thread, const struct exit_record *record, uintptr_t first, uintptr_t second) {
    struct exit_record *copy = ia2_record_new();
    if (!copy) {
        ia2_count(&ia2_counters.bypassed);
        IA2_PROBE_DESTRUCTOR(record);
        ((void (*)(uintptr_t, uintptr_t))record->function)(first, second);
        return;
    }
    ia2_record_copy(copy, record);
    run(thread, copy, first, second);
    ia2_count_run(copy);
    ia2_record_return(copy);
}

/* Not inlined: alone it does with the registers that it need not save. */
__attribute__((noinline)) static bool has_its_code(const struct exit_record *record, uint64_t what) {
    return record->mac == ia2_record_mac(record, what);
}

__attribute__((noinline)) static void leave_touched(struct ia2_thread *thread) {
    thread->depth = 0;
    ia2_close_leave(thread, &(struct ia2_rights){0});
}

/* A call that mode `contain` may abandon. */
__attribute__((noinline)) static void call_containable(const struct ia2_thread *thread, uintptr_t function,
                                                       uintptr_t first, uintptr_t second) {
    const uint32_t slot = ia2_thread_slot(thread);
    const struct ia2_call call = {.function = function, .arguments = {first, second}, .slot = slot, .place = slot};
    (void)ia2_call(&call);
}

void ia2_run_alike(struct exit_record *record, uintptr_t second,
                   void (*otherwise)(struct exit_record *record, uintptr_t first, uintptr_t second)) {
    const uint64_t what = atomic_load_explicit(&record->what, memory_order_relaxed);
    __builtin_prefetch(record - 16, 1); /* the last registered runs first */
    struct ia2_thread *thread = ia2_close_is_open_for((uint16_t)what);
    if (!thread || what & IA2_WHAT(0, 0, 0, IA2_VAGUE | IA2_REPEATED) || !has_its_code(record, what)) {
        otherwise(record, record->argument, second);
        return;
    }
    const ia2_record_number number = atomic_load_explicit(&record->number, memory_order_relaxed);
    /* This is the only thread: claiming it needs no more. */
    atomic_store_explicit(&record->number, number & IA2_GENERATION_MASK, memory_order_relaxed);
    atomic_store_explicit(&record->state, IA2_RUNNING, memory_order_relaxed);
    if (is_listed((uint8_t)(what >> 32))) {
        check_order(number);
    }
    const uintptr_t first = record->argument;
    record->around = (uint64_t)thread->pkru << 32; /* nothing is interrupted */
    thread->rights.owner = (uint16_t)what;
    thread->running = record;
    thread->within = 1;                                                     /* depth */
    atomic_store_explicit(&thread->running_since, 1, memory_order_relaxed); /* there is no other thread to miss it */
    IA2_PROBE_DESTRUCTOR(record);
    (void)ia2_dispatch_intercept(true);
    if (__builtin_expect(ia2_sealed.mode != IA2_CONTAIN, 1)) {
        ((void (*)(uintptr_t, uintptr_t))record->function)(
            first, second); /* nobody abandons it: nothing need be kept for that */
    } else {
        call_containable(thread, record->function, first, second);
    }
    (void)ia2_dispatch_intercept(false);
    thread->running = NULL;
    thread->rights.owner = 0;
    if (__builtin_expect(thread->within == 1, 1)) {
        thread->within = 0;
    } else {
        leave_touched(thread);
    }
    ia2_changes_end_run(thread);
    atomic_store_explicit(&record->state, IA2_DONE, memory_order_release);
}

static void refuse(const char *detail) {
    ia2_count(&ia2_counters.refused);
    ia2_event_fault("a destructor was refused", detail);
}

static void run_checked(struct ia2_thread *thread, struct exit_record *record) {
    uintptr_t first = record->argument;
    uintptr_t second = 0;
    if (thread->record == record) {
        first = thread->first;
        second = thread->second;
        thread->record = NULL;
    }
    const bool outermost = thread->depth == 0;
    if (outermost) {
        ia2_changes_begin_run(thread);
    }
    if (!ia2_record_claim(record)) {
        if (outermost) {
            ia2_changes_end_run(thread);
        }
        refuse("its record is not live: it has run already, or was never registered");
        return;
    }
    bool intercepted = ia2_dispatch_intercept(false); /* our own system calls are not the interrupted destructor's */
    check_order_of(thread, record);
    if (record->flags & IA2_REPEATED) {
        run_again(thread, record, first, second);
    } else {
        run(thread, record, first, second);
        atomic_store_explicit(&record->state, IA2_DONE, memory_order_release);
    }
    if (outermost) {
        ia2_changes_end_run(thread);
    }
    ia2_dispatch_intercept(intercepted);
}

void ia2_run_destructor(const struct exit_record *given) {
    uint32_t before = ia2_gate_open();
    struct exit_record *record = ia2_record_at(ia2_record_index(given));
    if (record) {
        run_checked(ia2_self(), record);
    } else {
        refuse("the record is not in the runtime's table");
    }
    ia2_gate_close(before);
}

void ia2_run_with(struct exit_record *record, uintptr_t first, uintptr_t second) {
    struct ia2_thread *thread = ia2_self();
    thread->record = record;
    thread->first = first;
    thread->second = second;
    ia2_run_destructor(record);
}
