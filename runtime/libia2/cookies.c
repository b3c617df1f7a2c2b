#include "cookies.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

#include "sealed.h"
#include "system.h"

#define PAGE 4096u
#define PAGES 1024u /* 65,536 streams at a time: more than a process may have files as a rule */

struct place {
    struct ia2_cookie content;
    _Atomic ia2_cookie_number number; /* while it is in use; else its low half is 0 */
    uint32_t next_free;               /* index + 1 */
};

#define PLACES (PAGE / sizeof(struct place)) /* in one page */

static struct place *pages[PAGES];
static _Atomic uint32_t used; /* places that were handed out at least once */
static uint32_t free_list;    /* index + 1, 0: none is free; only under the lock */
static ia2_lock lock;

/* Pages come one by one and stay. Under the runtime's own key, where it has one. */
static struct place *new_page(void) {
    void *page = ia2_map_memory(PAGE);
    if (page && ia2_sealed.runtime_key &&
        ia2_syscall4(SYS_pkey_mprotect, (long)page, PAGE, PROT_READ | PROT_WRITE, ia2_sealed.runtime_key) != 0) {
        ia2_syscall2(SYS_munmap, (long)page, PAGE);
        return NULL;
    }
    return page;
}

static struct place *place_at(uint32_t index) { return &pages[index / PLACES][index % PLACES]; }

/* A place that nobody uses, as index + 1; 0: there is none. Only under the lock. */
static uint32_t take_place(void) {
    uint32_t index = atomic_load_explicit(&used, memory_order_relaxed);
    if (free_list != 0) {
        uint32_t taken = free_list;
        free_list = place_at(taken - 1)->next_free;
        return taken;
    }
    if (index == PAGES * PLACES) {
        return 0;
    }
    if (!pages[index / PLACES]) {
        pages[index / PLACES] = new_page();
    }
    if (!pages[index / PLACES]) {
        return 0;
    }
    atomic_store_explicit(&used, index + 1, memory_order_release);
    return index + 1;
}

ia2_cookie_number ia2_cookie_keep(const struct ia2_cookie *cookie) {
    ia2_cookie_number number = 0;
    if (!ia2_lock_take(&lock)) {
        return 0;
    }
    uint32_t taken = take_place();
    if (taken) {
        struct place *place = place_at(taken - 1);
        place->content = *cookie;
        number = atomic_load_explicit(&place->number, memory_order_relaxed) | taken; /* the generation is there */
        atomic_store_explicit(&place->number, number, memory_order_release);
    }
    ia2_lock_give(&lock);
    return number;
}

/* The place that `number` stands for, NULL: none does. */
static struct place *find(ia2_cookie_number number) {
    uint32_t index = (uint32_t)number - 1u; /* of 0 it is larger than any */
    if (index >= atomic_load_explicit(&used, memory_order_acquire)) {
        return NULL;
    }
    struct place *place = place_at(index);
    return atomic_load_explicit(&place->number, memory_order_acquire) == number ? place : NULL;
}

bool ia2_cookie_find(ia2_cookie_number number, struct ia2_cookie *cookie) {
    const struct place *place = find(number);
    if (!place) {
        return false;
    }
    *cookie = place->content;
    return find(number) == place; /* else another thread has closed the stream in between */
}

void ia2_cookie_forget(ia2_cookie_number number) {
    if (!ia2_lock_take(&lock)) {
        return; /* a signal handler has closed a stream while another was being opened: its place is lost */
    }
    struct place *place = find(number);
    if (place) {
        atomic_store_explicit(&place->number, ((number >> 32) + 1) << 32, memory_order_release);
        place->next_free = free_list;
        free_list = (uint32_t)number;
    }
    ia2_lock_give(&lock);
}
