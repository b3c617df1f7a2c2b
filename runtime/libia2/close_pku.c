/* Backend pku: protection keys, for each thread by itself (Intel SDM volume 3, section 4.6.2; Linux, core-api/protection-keys). Pages
 * are tagged when closing begins; a switch is one WRPKRU. */
#include <cpuid.h>
#include <sys/mman.h>

#include "attach.h"
#include "changes.h"
#include "close.h"
#include "dispatch.h"
#include "gate.h"
#include "objects.h"
#include "redirect.h"
#include "run.h"
#include "signals.h"
#include "system.h"
#include "tally.h"
#include "vault.h"

static _Atomic uint8_t key_of[IA2_MAP_MAX_COMPARTMENT + 1u] IA2_LARGE; /* 0: none, open to all */
static _Atomic uint32_t all_bits;                                      /* of the compartments' keys */

/* What a thread may have from before: keys of the program's own stay as the program set them. */
static uint32_t others_of(uint32_t pkru) { return pkru & ~all_bits & ~ia2_sealed.runtime_bits; }

uint32_t ia2_pku_our_bits(void) { return all_bits | ia2_sealed.runtime_bits; }

uint32_t ia2_pku_of(uint16_t id) {
    if (ia2_host_attached()) {
        return ia2_host_pkru(id) | ia2_sealed.runtime_bits;
    }
    uint32_t closed = all_bits;
    if (id <= IA2_MAP_MAX_COMPARTMENT && key_of[id] != 0) {
        closed &= ~ia2_key_bits(key_of[id]);
    }
    return others_of(ia2_rdpkru()) | closed | ia2_sealed.runtime_bits;
}

bool ia2_pku_exists(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & (1u << 4)); /* OSPKE: the kernel uses them, too */
}

/* Offset of PKRU in an XSAVE area of the standard format, which signal frames have: CPUID leaf 0xD, subleaf 9. */
uint32_t ia2_pku_frame_offset(void) {
    uint32_t size, offset, c, d;
    return __get_cpuid_count(0xd, 9, &size, &offset, &c, &d) && size != 0 ? offset : 0;
}

/* A new key, open to the calling thread and to those that it creates; 0: there is none left. */
uint8_t ia2_pku_new_key(void) {
    long key = ia2_syscall2(SYS_pkey_alloc, 0, 0);
    return key > 0 && key <= (long)IA2_LAST_KEY ? (uint8_t)key : 0;
}

void ia2_pku_free_keys(void) {
    for (uint32_t id = 0; id <= IA2_MAP_MAX_COMPARTMENT; id++) {
        if (key_of[id]) {
            ia2_syscall1(SYS_pkey_free, key_of[id]);
            key_of[id] = 0;
        }
    }
    all_bits = 0;
}

bool ia2_pku_give_key(uint16_t compartment) {
    uint8_t key = key_of[compartment];
    if (key == 0 && (key = ia2_pku_new_key()) != 0) {
        key_of[compartment] = key;
        all_bits |= ia2_key_bits(key);
        ia2_changes_tell(IA2_KEYS_CHANGED);
    }
    return key != 0;
}

uint8_t ia2_key_of(uint16_t compartment) { return compartment <= IA2_MAP_MAX_COMPARTMENT ? key_of[compartment] : 0; }

static bool tag_range(uintptr_t start, uintptr_t end) {
    return start >= end || ia2_syscall4(SYS_pkey_mprotect, (long)start, (long)(end - start), PROT_READ | PROT_WRITE,
                                        ia2_sealed.runtime_key) == 0;
}

static bool is_open(uintptr_t page) {
    return page == (uintptr_t)&ia2_sealed || page == (uintptr_t)ia2_trampoline_return ||
           page == (uintptr_t)ia2_signals_taker || page - (uintptr_t)ia2_fini_cells < sizeof ia2_fini_cells;
}

/* All but the pages that must be readable whatever PKRU is: what the constructor decided, where trampolines return to, whose signals
 * are taken, what ld.so takes for arrays of destructors. */
bool ia2_pku_tag_runtime(void) {
    const struct ia2_object *runtime = ia2_object(ia2_object_at((uintptr_t)&ia2_sealed));
    bool done = runtime->range_count > 0;
    for (uint8_t i = 0; i < runtime->range_count && done; i++) {
        uintptr_t start = runtime->ranges[i].start;
        for (uintptr_t at = start; at < runtime->ranges[i].end && done; at += IA2_PAGE) {
            if (is_open(at)) {
                done = tag_range(start, at);
                start = at + IA2_PAGE;
            }
        }
        done = done && tag_range(start, runtime->ranges[i].end);
    }
    uintptr_t wanted = (uintptr_t)ia2_sealed.wanted;
    return done && tag_range(wanted, wanted + 2 * IA2_PAGE) && ia2_records_tag();
}

static long tag(const struct ia2_piece *piece, uint8_t key) {
    return ia2_syscall4(SYS_pkey_mprotect, (long)piece->start, (long)(piece->end - piece->start), piece->protection,
                        key);
}

static void open_piece(struct ia2_piece *piece) {
    if (piece->state && ia2_piece_is_there(piece)) {
        ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
        tag(piece, 0);
    }
    piece->state = 0;
}

static const char *may_begin(void) { return NULL; }

/* Of an object that came by dlopen: other threads find the key closed, and are let through as bystanders. */
static void mark(struct ia2_piece *piece) {
    piece->state = ia2_pku_give_key(piece->compartment) && ia2_piece_is_there(piece);
}

/* Listed as closed first: whoever touches it is to be known. */
static void tag_marked(void) {
    for (uint32_t number = 1; number <= ia2_pieces_count(); number++) {
        struct ia2_piece *piece = ia2_piece_number(number);
        if (piece->state) {
            ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
            piece->state = tag(piece, key_of[piece->compartment]) == 0;
        }
    }
}

/* A host runtime has tagged its own pages; we tag nothing then. No object may go between the look at it and the call. */
static void begin(void) {
    const bool held = ia2_objects_hold();
    for (uint32_t number = 1; number <= ia2_pieces_count() && !ia2_host_attached(); number++) {
        mark(ia2_piece_number(number));
    }
    tag_marked();
    if (held) {
        ia2_objects_release();
    }
}

static void open_as_it_is(uintptr_t start, uintptr_t end, int protection) {
    ia2_syscall4(SYS_pkey_mprotect, (long)start, (long)(end - start), protection, 0);
}

static void end(void) {
    const bool held = ia2_objects_hold();
    for (uint32_t number = 1; number <= ia2_pieces_count(); number++) {
        open_piece(ia2_piece_number(number));
    }
    if (held) {
        ia2_objects_release();
    }
}

static void rest(struct ia2_thread *thread) {
    if (!ia2_host_attached()) {
        thread->resting = true;
        thread->resting_pkru = others_of(ia2_rdpkru()) | all_bits | ia2_sealed.runtime_bits;
    }
}

/* The gate through which this thread goes back to its own code gives it everything. */
static void stop_resting(struct ia2_thread *thread) {
    if (thread->resting) {
        thread->resting_pkru = others_of(ia2_rdpkru()) | ia2_sealed.runtime_bits;
        thread->rests_once = true;
    }
}

/* What is mapped anew has no key: it would be open to all. */
static void catch_up(struct ia2_thread *thread, uint32_t changes) {
    if (changes & IA2_KEYS_CHANGED && thread->resting) {
        rest(thread);
    }
    if (changes & IA2_MAPPINGS_CHANGED && !ia2_host_attached()) {
        const bool held = ia2_objects_hold();
        if (ia2_pieces_replace(mark, open_as_it_is)) {
            tag_marked();
        }
        if (held) {
            ia2_objects_release();
        }
    }
}

static bool lacks_key(uint16_t compartment) {
    return compartment != 0 && key_of[compartment] == 0 && ia2_piece_first_of(compartment) != IA2_NO_PIECE;
}

static const char *enter(struct ia2_thread *thread, const struct ia2_rights *rights) {
    uint32_t wanted;
    if (!ia2_host_attached() && !rights->all && lacks_key(rights->owner)) {
        return "no protection key is left";
    }
    ia2_pkru_of_rights(rights, &wanted);
    ia2_count(&ia2_tally_of_rights(rights)->switches);
    thread->pkru = wanted;
    return NULL;
}

static void leave(struct ia2_thread *thread, const struct ia2_rights *outer) {
    (void)outer; /* run.c puts back the very value that was there */
    thread->touched = 0;
}

static bool is_closed(const struct ia2_thread *thread, const struct ia2_piece *piece) {
    (void)thread;
    return piece->state != 0;
}

/* Opening takes one instruction. */
static bool linger(void) { return false; }

const struct ia2_closer ia2_close_pku = {
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
