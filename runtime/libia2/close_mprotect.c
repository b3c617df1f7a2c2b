/* Backend mprotect: page protections, for the whole process. A switch costs system calls, so the pages of the previous owner close only
 * when another one's turn comes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>

#include "close.h"
#include "dispatch.h"
#include "objects.h"
#include "park.h"
#include "run.h"
#include "system.h"
#include "tally.h"
#include "tasks.h"

enum { OPEN, CLOSED };

static volatile uint32_t switches;
static struct ia2_rights open_now; /* what is open, besides shared memory; only while closing */
static _Atomic bool waiting;       /* some of that is still closed: it opens when it is touched */
static uint64_t
    wanted_early[(IA2_MAX_OBJECTS + 63) / 64]; /* objects that others of their compartment have touched once */
struct ia2_alone ia2_alone = {NULL, IA2_NOT_ALONE};

static bool protect(const struct ia2_piece *piece, uintptr_t start, uintptr_t end, int protection) {
    ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
    return ia2_mprotect(start, end - start, protection) == 0;
}

/* The state says "closed" before the page is and until it is no longer: a signal handler that comes in between and needs the page
 * opens it once more than necessary. */
static void open_piece(struct ia2_piece *piece) {
    if (piece->state == CLOSED && ia2_piece_is_there(piece)) {
        protect(piece, piece->start, piece->end, piece->protection);
    }
    piece->state = OPEN;
}

static void close_piece(struct ia2_piece *piece) {
    if (piece->state == OPEN && piece->slot != IA2_NO_OBJECT && ia2_piece_is_there(piece)) {
        piece->state = CLOSED;
        if (!protect(piece, piece->start, piece->end, PROT_NONE)) {
            piece->state = OPEN;
        }
    }
}

static bool covers(const struct ia2_rights *rights, uint16_t compartment) {
    return rights->all || compartment == rights->owner || compartment == rights->also;
}

/* Is this the only thread? A closed page is closed to all, and no handler can hide that from another thread. */
static bool is_alone(void) {
    if (__libc_single_threaded) {
        return true;
    }
    struct stat status;
    if (ia2_syscall4(SYS_newfstatat, AT_FDCWD, (long)"/proc/self/task", (long)&status, 0) != 0) {
        return false;
    }
    return status.st_nlink == 3 || (status.st_nlink == 4 && ia2_tasks_first_is_gone());
}

static void each_piece(uint16_t compartment, void (*change)(struct ia2_piece *piece)) {
    for (uint32_t number = ia2_piece_first_of(compartment); number != IA2_NO_PIECE;
         number = ia2_piece_next_of(number)) {
        change(ia2_piece_number(number));
    }
}

static void change_all(void (*change)(struct ia2_piece *piece)) {
    for (uint32_t number = 1; number <= ia2_pieces_count(); number++) {
        change(ia2_piece_number(number));
    }
}

static const char *may_begin(void) { return is_alone() || (ia2_sealed.park && ia2_park_others()) ? NULL : "threads"; }

static void begin(void) {
    open_now = (struct ia2_rights){0};
    change_all(close_piece);
}

static void end(void) {
    ia2_alone.owner = IA2_NOT_ALONE;
    waiting = false;
    change_all(open_piece);
    ia2_unpark_others();
}

/* Needs dispatch: the kernel does not fault. */
static bool linger(void) {
    if (!ia2_dispatch_armed() || ia2_others_are_parked()) {
        return false;
    }
    ia2_alone.owner = IA2_NOT_ALONE;
    open_now = (struct ia2_rights){.all = true};
    waiting = true;
    return true;
}

static void rest(struct ia2_thread *thread) { (void)thread; }

static void stop_resting(struct ia2_thread *thread) {
    (void)thread;
    ia2_alone.owner = IA2_NOT_ALONE;
}

/* This is the only thread, and switch_to() looks after mappings. */
static void catch_up(struct ia2_thread *thread, uint32_t changes) {
    (void)thread;
    (void)changes;
}

/* ---- pages of the owner's that wait for their first touch ----
 *
 * A destructor rarely leaves its own object, and a compartment may have many: opening and closing all of them at each change of owner is
 * most of what a short program's exit costs. So only the object that the destructor belongs to is opened, with those that were touched by
 * another's before. A touch of the others faults, and their pages open. The kernel does not fault: every system call opens all of them
 * first, so all are opened at once where system calls are not dispatched. */

static bool is_early(uint32_t slot) { return (wanted_early[slot / 64] >> (slot % 64) & 1) != 0; }

static void open_early(const struct ia2_rights *rights) {
    const uint32_t near = ia2_object_at(rights->near);
    for (uint32_t number = ia2_piece_first_of(rights->owner); number != IA2_NO_PIECE;
         number = ia2_piece_next_of(number)) {
        struct ia2_piece *piece = ia2_piece_number(number);
        if (piece->slot == near || is_early(piece->slot)) {
            open_piece(piece);
        } else if (piece->state == CLOSED) {
            waiting = true;
        }
    }
}

bool ia2_close_admits(uintptr_t address) {
    struct ia2_piece *piece = waiting ? (struct ia2_piece *)ia2_piece_known_at(address) : NULL;
    if (!piece || piece->state != CLOSED || (piece->compartment != open_now.owner && !open_now.all)) {
        return false;
    }
    wanted_early[piece->slot / 64] |= 1ul << piece->slot % 64;
    open_piece(piece);
    return true;
}

void ia2_close_admit_all(void) {
    while (waiting) { /* a signal handler may come in between, and leave some to wait again */
        waiting = false;
        if (open_now.all) {
            change_all(open_piece);
        } else {
            each_piece(open_now.owner, open_piece);
        }
    }
}

/* ---- switching ---- */

/* Opens what `rights` gives. */
static void admit(const struct ia2_rights *rights) {
    if (rights->near != 0 && rights->also == 0 && !rights->all && ia2_dispatch_armed()) {
        open_early(rights);
        return;
    }
    const uint16_t wanted[] = {rights->owner, rights->also};
    for (unsigned i = 0; i < 2; i++) {
        if (wanted[i] != 0) {
            each_piece(wanted[i], open_piece);
        }
    }
    if (rights->all) {
        change_all(open_piece);
    }
    waiting = false;
}

static void apply(const struct ia2_rights *before, const struct ia2_rights *rights) {
    if (before->all) {
        change_all(close_piece);
    }
    waiting = false;
    const uint16_t old[] = {before->owner, before->also};
    for (unsigned i = 0; i < 2; i++) {
        if (old[i] != 0 && !covers(rights, old[i])) {
            each_piece(old[i], close_piece);
        }
    }
    admit(rights);
}

/* A signal handler may come in between and switch to its own rights and back: then what was done so far is done again. It must not take
 * open_now for what is open, even where that is what it wants itself. */
static void switch_to(struct ia2_thread *thread, const struct ia2_rights *rights) {
    const uint8_t outer = thread->switching;
    uint32_t mine;
    thread->switching = (uint8_t)(outer + 1u);
    ia2_count(&ia2_tally_of_rights(rights)->switches);
    if (outer == 0) {
        ia2_pieces_renew(); /* else the interrupted switch is going through the list */
    }
    ia2_alone.owner = IA2_NOT_ALONE;
    do {
        struct ia2_rights before = open_now;
        mine = ++switches;
        open_now = *rights;
        apply(&before, rights);
    } while (switches != mine);
    thread->switching = outer;
}

/* The pages that were opened for the destructor that ran are closed again, so that the next one's touch is noticed, too. */
static void close_touched(struct ia2_thread *thread) {
    for (uint8_t i = 0; i < thread->touched; i++) {
        uintptr_t page = thread->touched_pages[i] & ~(IA2_PAGE - 1);
        const struct ia2_piece *piece = ia2_piece_known_at(page);
        if (piece && piece->state == CLOSED && ia2_piece_is_there(piece)) {
            protect(piece, page, page + IA2_PAGE, PROT_NONE);
        }
    }
    thread->touched = 0;
}

static const char *enter(struct ia2_thread *thread, const struct ia2_rights *rights) {
    if (__builtin_expect(thread->touched != 0, 0)) {
        close_touched(thread);
    }
    if (__builtin_expect(!is_alone() && !ia2_others_are_parked(), 0)) {
        const struct ia2_rights all = {.all = true};
        if (!open_now.all) {
            switch_to(thread, &all);
        }
        return "threads";
    }
    bool same = open_now.owner == rights->owner && open_now.also == rights->also && open_now.all == rights->all &&
                thread->switching == 0;
    if (__builtin_expect(!same, 0)) {
        switch_to(thread, rights);
    } else if (__builtin_expect(waiting, 0)) {
        admit(rights);
    }
    const bool plain = !rights->all && rights->also == 0 && ia2_exiting() && !ia2_sealed.tracing;
    ia2_alone = (struct ia2_alone){thread, plain ? rights->owner : IA2_NOT_ALONE};
    return NULL;
}

/* Nothing but the touched pages: what is open may be what the next destructor needs. A destructor that was interrupted goes on with what
 * it had, and nothing more. */
static void leave(struct ia2_thread *thread, const struct ia2_rights *outer) {
    if (__builtin_expect(thread->touched != 0, 0)) {
        close_touched(thread);
    }
    if (thread->depth > 0) {
        (void)enter(thread, outer);
    }
}

static bool is_closed(const struct ia2_thread *thread, const struct ia2_piece *piece) {
    (void)thread;
    return piece->state == CLOSED;
}

const struct ia2_closer ia2_close_mprotect = {
    .may_begin = may_begin,
    .begin = begin,
    .end = end,
    .linger = linger,
    .rest = rest,
    .stop_resting = stop_resting,
    .catch_up = catch_up,
    .enter = enter,
    .leave = leave,
    .is_closed = is_closed,
    .open_piece = open_piece,
};
