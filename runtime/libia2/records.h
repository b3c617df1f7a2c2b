/* Exit records: one for each registration. glibc holds only a stub and a record number. */
#ifndef IA2_RECORDS_H
#define IA2_RECORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "ia2_exit.h"
#include "nh.h"
#include "sealed.h"
#include "secret.h"

enum ia2_record_state { IA2_FREE, IA2_LIVE, IA2_RUNNING, IA2_DONE, IA2_COPY /* one run of a record that repeats */ };

enum ia2_record_flag {
    IA2_FOREIGN = 1,  /* the registrar seems to be another compartment than the owner */
    IA2_VAGUE = 2,    /* the argument lies in a WEAK or UNIQUE symbol of another object: `also` is open too */
    IA2_REPEATED = 4, /* runs many times (pthread_key): stays live */
};

/* How a destructor fared. Each that ran has one of these. */
enum ia2_outcome {
    IA2_SUCCESS,
    IA2_FALLBACK,   /* nobody owns it: it ran with the fallback's rights */
    IA2_VIOLATION,  /* it touched closed memory, and went on or ended the process */
    IA2_CONTAINED,  /* it touched closed memory and was abandoned */
    IA2_UNENFORCED, /* nothing was closed for it */
    IA2_BYPASSED,   /* everything was open because somebody asked for that */
    IA2_UNFINISHED, /* it would be a success, had it returned; no record says so, only a count */
    IA2_OUTCOMES,
};

/* What glibc is given: generation << 32 | index + 1. Never 0 in its low half. */
typedef uint64_t ia2_record_number;

struct exit_record {
    uintptr_t function;
    union {
        uintptr_t argument;
        struct {                 /* while running: it has been passed on */
            uint32_t outer;      /* index + 1 of the record of the destructor that this one interrupted */
            uint32_t outer_pkru; /* what PKRU goes back to */
        };
        uint64_t around; /* both: `outer` in the low half */
    };
    _Atomic ia2_record_number number; /* while live; else its low half is 0: one comparison tells whether it may run */
    union {
        _Atomic uintptr_t
            dso; /* dso_handle as given; of fini kinds the start of the object; of a copy see ia2_record_original() */
        _Atomic uint32_t next_free; /* of a free slot: index + 1 of the next one; a late reader may still look at it */
    };
    union {
        uintptr_t registrar; /* return address of the registration call */
        uintptr_t next_fini; /* of fini kinds: index + 1 of the object's next record */
    };
    union {
        struct {
            uint16_t owner; /* compartment, or IA2_NO_OWNER */
            uint16_t also;  /* with IA2_VAGUE: the other compartment that is open */
            uint8_t kind;   /* enum ia2_exit_kind */
            uint8_t flags;
            _Atomic uint8_t state; /* enum ia2_record_state */
            uint8_t outcome;       /* enum ia2_outcome, once it has run */
        };
        _Atomic uint64_t what; /* all of these at once */
    };
    union {
        uint64_t mac;       /* while live: of all above */
        uintptr_t outer_sp; /* while running: ia2_call_sp of the destructor that this one interrupted */
    };
};

_Static_assert(sizeof(struct exit_record) == 56,
               "64 bytes a record is the published limit, and an eighth may lie idle");
_Static_assert(offsetof(struct exit_record, also) == offsetof(struct exit_record, what) + 2 &&
                   offsetof(struct exit_record, kind) == offsetof(struct exit_record, what) + 4 &&
                   offsetof(struct exit_record, flags) == offsetof(struct exit_record, what) + 5 &&
                   offsetof(struct exit_record, state) == offsetof(struct exit_record, what) + 6 &&
                   offsetof(struct exit_record, outcome) == offsetof(struct exit_record, what) + 7,
               "ia2_record_what_live() puts it together");

/* Only the thread that runs a record writes its outcome; whoever counts reads it any time. */
static inline uint8_t ia2_record_outcome(const struct exit_record *record) {
    return __atomic_load_n(&record->outcome, __ATOMIC_RELAXED);
}
static inline void ia2_record_set_outcome(struct exit_record *record, uint8_t outcome) {
    __atomic_store_n(&record->outcome, outcome, __ATOMIC_RELAXED);
}

#define IA2_GENERATION_MASK 0xffffffff00000000u

/* The table. Owned by records.c; here only so that the common paths below are a few instructions. */
struct ia2_record_table {
    struct exit_record *base;   /* NULL: nothing reserved yet */
    _Atomic uint32_t used;      /* slots handed out at least once */
    _Atomic uint32_t room;      /* slots whose memory is there */
    _Atomic uint64_t free_list; /* tag << 32 | index + 1: the tag makes the compare-and-swap safe against ABA */
};
extern struct ia2_record_table ia2_records;

struct exit_record *ia2_record_new_slow(void);

/* Makes the codes of all live records anew: nothing was enforced when they were published. Only from the constructor. */
void ia2_records_seal_all(void);

/* Tags the table with the runtime's own key, once, from the constructor. False where the kernel refused. */
bool ia2_records_tag(void);

/* A new record in state `free` that only the caller knows; NULL when memory or numbers ran out. Any thread, no lock. */
static inline struct exit_record *ia2_record_new(void) {
    uint32_t index = atomic_load_explicit(&ia2_records.used, memory_order_relaxed);
    bool reuse = (uint32_t)atomic_load_explicit(&ia2_records.free_list, memory_order_relaxed) != 0;
    bool room = index < atomic_load_explicit(&ia2_records.room, memory_order_acquire);
    if (__builtin_expect(reuse || !room || !__libc_single_threaded, 0)) {
        return ia2_record_new_slow();
    }
    atomic_store_explicit(&ia2_records.used, index + 1, memory_order_relaxed); /* nobody else is there to race with */
    return ia2_records.base + index;
}

static inline uint32_t ia2_record_generation(const struct exit_record *record) {
    return (uint32_t)(atomic_load_explicit(&record->number, memory_order_relaxed) >> 32);
}

static inline uintptr_t ia2_record_dso(const struct exit_record *record) {
    return atomic_load_explicit(&record->dso, memory_order_relaxed);
}

/* The record that was registered: of a running copy the one that it was made from. */
static inline const struct exit_record *ia2_record_original(const struct exit_record *record) {
    bool copy = atomic_load_explicit(&record->state, memory_order_relaxed) == IA2_COPY;
    return copy ? ia2_records.base + (ia2_record_dso(record) - 1u) : record;
}

/* Return address of the registration call; 0 for fini kinds, which nobody registers. */
static inline uintptr_t ia2_record_registrar(const struct exit_record *record) {
    return record->kind == IA2_EXIT_FINI_ARRAY || record->kind == IA2_EXIT_FINI ? 0 : record->registrar;
}

static inline uint32_t ia2_record_place(const struct exit_record *record) {
    return (uint32_t)(record - ia2_records.base);
}

#define IA2_WHAT(owner, also, kind, flags)                                                                             \
    ((uint64_t)(owner) | (uint64_t)(also) << 16 | (uint64_t)(kind) << 32 | (uint64_t)(flags) << 40)

/* `what` of a live record. From its parts: a load of all of them would have to wait for stores of each that are still under way. */
static inline uint64_t ia2_record_what_live(const struct exit_record *record) {
    return IA2_WHAT(record->owner, record->also, record->kind, record->flags) | (uint64_t)IA2_LIVE << 48 |
           (uint64_t)IA2_SUCCESS << 56;
}

/* The code of a record with this `what`: who changes it without knowing the key is found out (ia2_record_claim()). */
static inline uint64_t ia2_record_mac(const struct exit_record *record, uint64_t what) {
    const uint64_t words[IA2_RECORD_WORDS] = {
        record->function,
        record->argument,
        atomic_load_explicit(&record->number, memory_order_relaxed),
        atomic_load_explicit(&record->dso, memory_order_relaxed),
        record->registrar,
        what,
    };
    return ia2_nh(ia2_record_key, words, IA2_RECORD_WORDS);
}

/* Is the record live, and what it was when it was published? The code is of a live one only. */
static inline bool ia2_record_is_intact(const struct exit_record *record) {
    const uint64_t what = atomic_load_explicit(&record->what, memory_order_relaxed);
    const uint32_t number = (uint32_t)atomic_load_explicit(&record->number, memory_order_relaxed);
    return record->mac == ia2_record_mac(record, what) && number == ia2_record_place(record) + 1u;
}

/* To be called after each change of a live record. Where nothing is enforced nobody looks at the code. */
static inline void ia2_record_seal(struct exit_record *record) {
    if (ia2_sealed.enforcing) {
        record->mac = ia2_record_mac(record, ia2_record_what_live(record));
    }
}

/* Makes the filled record live and returns its number. */
static inline ia2_record_number ia2_record_publish(struct exit_record *record) {
    ia2_record_number number = (atomic_load_explicit(&record->number, memory_order_relaxed) & IA2_GENERATION_MASK) |
                               (ia2_record_place(record) + 1u);
    record->outcome = IA2_SUCCESS;
    atomic_store_explicit(&record->state, IA2_LIVE, memory_order_relaxed);
    atomic_store_explicit(&record->number, number, memory_order_release);
    ia2_record_seal(record);
    return number;
}

/* The live record of a number that came back from glibc: bounds and generation checked; NULL when it names none. */
static inline struct exit_record *ia2_record_find(ia2_record_number number) {
    uint32_t index = (uint32_t)number - 1u; /* 0 wraps round to a number that is out of bounds */
    if (index >= atomic_load_explicit(&ia2_records.used, memory_order_relaxed)) {
        return NULL;
    }
    struct exit_record *record = ia2_records.base + index;
    return atomic_load_explicit(&record->number, memory_order_acquire) == number ? record : NULL;
}

/* live -> running; false when the state does not allow it. Records that repeat stay live. A record that has been changed since it
 * was published ends the process. */
bool ia2_record_claim(struct exit_record *record);
/* Makes `copy`, which only the caller knows, a running copy of a live record that repeats. */
void ia2_record_copy(struct exit_record *copy, const struct exit_record *record);
/* Back to the free slots, and counted. The caller must be the only one who can still reach it. */
void ia2_record_free(struct exit_record *record);
/* The same for a registration that glibc refused: it never was. */
void ia2_record_return(struct exit_record *record);

uint32_t ia2_record_index(const struct exit_record *record); /* UINT32_MAX: not in the runtime's table */
struct exit_record *ia2_record_at(uint32_t index);           /* index < the count of slots ever used, else NULL */

/* What the slots say now; adds their runs to ia2_runs. Linear in the slots: once, at the end. */
struct ia2_census {
    uint64_t registered, ran, live;
};
void ia2_record_census(struct ia2_census *census);

#endif
