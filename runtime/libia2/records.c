#include "records.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include "gate.h"
#include "run.h"
#include "system.h"
#include "tamper.h"

/* One range of addresses, reserved once and opened step by step: whether a pointer is a record is one comparison, and an
 * index needs no search. */
#define RESERVED (256ul << 20) /* 4 million records */
#define STEP (128ul << 10)
#define LARGE_STEP (4ul << 20)
#define HUGE_PAGE (2ul << 20)

struct ia2_record_table ia2_records;

static size_t reserved;  /* bytes */
static size_t opened;    /* bytes from the start of the table that are writable; the grower's alone */
static ia2_lock growing; /* a thread reserves or opens */

static bool reserve(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    ia2_syscall2(SYS_getrlimit, RLIMIT_AS, (long)&limit);
    size_t size = RESERVED;
    /* A program that runs in a bounded address space must not miss what we take of it. */
    while (limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur / 64 && size > 2 * STEP) {
        size /= 2;
    }
    long at = ia2_syscall(SYS_mmap, 0, (long)(size + HUGE_PAGE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                          -1, 0);
    if (at < 0 && at > -4096) {
        return false;
    }
    reserved = size;
    ia2_records.base = (struct exit_record *)(((uintptr_t)at + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    return true;
}

static long make_writable(uintptr_t at, size_t size) {
    if (ia2_sealed.runtime_key) {
        return ia2_syscall4(SYS_pkey_mprotect, (long)at, (long)size, PROT_READ | PROT_WRITE, ia2_sealed.runtime_key);
    }
    return ia2_mprotect(at, size, PROT_READ | PROT_WRITE);
}

/* Opens one more step, an eighth of what is open where that is more. The first pages come as they are touched; later ones at
 * once, and huge where the kernel has such, which costs a fraction of their faults. Both are hints: failure is no matter. */
static bool open_step(void) {
    size_t done = opened;
    size_t step = done / 8 / STEP * STEP;
    step = step < STEP ? STEP : step > LARGE_STEP ? LARGE_STEP : step;
    if (step >= HUGE_PAGE) {
        step = (done + step) / HUGE_PAGE * HUGE_PAGE - done; /* huge pages end where they should */
    }
    uintptr_t at = (uintptr_t)ia2_records.base + done;
    if (done + step > reserved || make_writable(at, step) != 0) {
        return false;
    }
    if (step >= HUGE_PAGE) {
        ia2_syscall3(SYS_madvise, (long)at, (long)step, MADV_HUGEPAGE);
    }
    if (done > 0) {
        ia2_syscall3(SYS_madvise, (long)at, (long)step, MADV_POPULATE_WRITE); /* Linux 5.14 */
    }
    opened = done + step;
    atomic_store_explicit(&ia2_records.room, (uint32_t)(opened / sizeof(struct exit_record)), memory_order_release);
    return true;
}

void ia2_records_seal_all(void) {
    struct exit_record *record;
    for (uint32_t i = 0; (record = ia2_record_at(i)); i++) {
        ia2_record_seal(record);
    }
}

bool ia2_records_tag(void) {
    return opened == 0 || ia2_syscall4(SYS_pkey_mprotect, (long)ia2_records.base, (long)opened, PROT_READ | PROT_WRITE,
                                       ia2_sealed.runtime_key) == 0;
}

static bool has_room(uint32_t index) { return index < atomic_load_explicit(&ia2_records.room, memory_order_acquire); }

/* Makes sure that the slot `index` is there. A signal handler that interrupts this very work gets no record. */
static bool grow(uint32_t index) {
    bool able = true;
    while (able && !has_room(index)) {
        if (!ia2_lock_take(&growing)) {
            return false;
        }
        able = has_room(index) || ((ia2_records.base || reserve()) && open_step());
        ia2_lock_give(&growing);
    }
    return able;
}

static struct exit_record *pop_free(void) {
    uint64_t head = atomic_load_explicit(&ia2_records.free_list, memory_order_acquire);
    while ((uint32_t)head != 0) {
        struct exit_record *record = ia2_records.base + ((uint32_t)head - 1u);
        uint64_t next = ((head >> 32) + 1) << 32 | atomic_load_explicit(&record->next_free, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&ia2_records.free_list, &head, next)) {
            return record;
        }
    }
    return NULL;
}

struct exit_record *ia2_record_new_slow(void) {
    struct exit_record *record = pop_free();
    if (record) {
        return record;
    }
    uint32_t index = atomic_load_explicit(&ia2_records.used, memory_order_relaxed);
    do {
        if (!grow(index)) {
            return NULL;
        }
    } while (!atomic_compare_exchange_weak(&ia2_records.used, &index, index + 1));
    return ia2_records.base + index;
}

bool ia2_record_claim(struct exit_record *record) {
    ia2_record_number number = atomic_load_explicit(&record->number, memory_order_acquire);
    if ((uint32_t)number == 0) {
        return false;
    }
    if (ia2_sealed.enforcing && !ia2_record_is_intact(record)) {
        /* Another thread may have been faster: then it is not live any more, which is something else. */
        if (atomic_load_explicit(&record->number, memory_order_acquire) == number) {
            ia2_tampered("an exit record was changed after its registration", NULL);
        }
        return false;
    }
    if (record->flags & IA2_REPEATED) {
        return true;
    }
    if (!atomic_compare_exchange_strong(&record->number, &number, number & IA2_GENERATION_MASK)) {
        return false; /* another thread was faster */
    }
    atomic_store_explicit(&record->state, IA2_RUNNING, memory_order_relaxed);
    return true;
}

void ia2_record_copy(struct exit_record *copy, const struct exit_record *record) {
    copy->function = record->function;
    /* A key has no dso_handle: ia2_record_original(). */
    atomic_store_explicit(&copy->dso, ia2_record_place(record) + 1u, memory_order_relaxed);
    copy->registrar = record->registrar;
    copy->owner = record->owner;
    copy->also = record->also;
    copy->kind = record->kind;
    copy->flags = record->flags;
    atomic_store_explicit(&copy->state, IA2_COPY, memory_order_relaxed);
}

void ia2_record_free(struct exit_record *record) {
    uint8_t state = atomic_load_explicit(&record->state, memory_order_relaxed);
    if (state == IA2_DONE) { /* the slot will not tell any more */
        ia2_count_run(record);
    } else if (state == IA2_RUNNING) { /* left by longjmp, and its object unloaded */
        ia2_count_cut_off(record);
    }
    if (state != IA2_FREE) {
        ia2_count(&ia2_counters.registered);
    }
    ia2_record_return(record);
}

void ia2_record_return(struct exit_record *record) {
    uint64_t generation = ia2_record_generation(record) + 1u;
    atomic_store_explicit(&record->number, generation << 32, memory_order_relaxed);
    atomic_store_explicit(&record->state, IA2_FREE, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ia2_records.free_list, memory_order_relaxed);
    uint64_t fresh;
    do {
        atomic_store_explicit(&record->next_free, (uint32_t)head, memory_order_relaxed);
        fresh = ((head >> 32) + 1) << 32 | (ia2_record_place(record) + 1u);
    } while (!atomic_compare_exchange_weak_explicit(&ia2_records.free_list, &head, fresh, memory_order_release,
                                                    memory_order_relaxed));
}

uint32_t ia2_record_index(const struct exit_record *record) {
    uintptr_t offset = (uintptr_t)record - (uintptr_t)ia2_records.base;
    bool inside = offset / sizeof *record < atomic_load_explicit(&ia2_records.used, memory_order_acquire);
    return inside && offset % sizeof *record == 0 ? (uint32_t)(offset / sizeof *record) : UINT32_MAX;
}

struct exit_record *ia2_record_at(uint32_t index) {
    return index < atomic_load_explicit(&ia2_records.used, memory_order_acquire) ? ia2_records.base + index : NULL;
}

void ia2_record_census(struct ia2_census *census) {
    *census = (struct ia2_census){0};
    const struct exit_record *record;
    for (uint32_t i = 0; (record = ia2_record_at(i)); i++) {
        uint8_t state = atomic_load_explicit(&record->state, memory_order_acquire);
        census->registered += state != IA2_FREE && state != IA2_COPY;
        census->live += state == IA2_LIVE;
        if (state == IA2_DONE) {
            census->ran++;
            ia2_count_run(record);
        } else if (state == IA2_RUNNING || state == IA2_COPY) {
            census->ran++;
            ia2_count_cut_off(record);
        }
    }
}
