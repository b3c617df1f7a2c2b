#include "backend.h"

#include "allowed.h"
#include "changes.h"
#include "close.h"
#include "frame.h"
#include "gate.h"
#include "objects.h"
#include "probe.h"
#include "run.h"
#include "signals.h"
#include "system.h"
#include "words.h"

static _Atomic bool closing;
static ia2_lock lock;  /* of the change between open and closed: with protection keys several threads may want it */
static uint32_t users; /* threads that want memory closed; only under the lock */
static bool signals;   /* taken; only under the lock */
static struct ia2_thread *lingering; /* the process is about to end in it */

static const struct ia2_closer *closer(void) {
    return ia2_sealed.backend == IA2_BACKEND_PKU ? &ia2_close_pku : &ia2_close_mprotect;
}

bool ia2_is_closing(void) { return atomic_load_explicit(&closing, memory_order_relaxed); }

static const char *begin_locked(struct ia2_thread *thread) {
    const char *wrong = NULL;
    if (users == 0) {
        wrong = ia2_pieces_refresh();
        wrong = wrong ? wrong : ia2_signals_take();
        if (!wrong) {
            if (signals) {
                ia2_signals_give_back(); /* taken once is enough; that was to find out whether they still are */
            }
            signals = true;
            atomic_store_explicit(&closing, true, memory_order_relaxed);
            IA2_PROBE_CLOSE(thread);
            ia2_allowed_remember();
            closer()->begin();
        }
    }
    users += !wrong;
    thread->closing = !wrong;
    return wrong;
}

/* With protection keys other threads go on meanwhile. One may have met a page that was still tagged: its signal is on the way, and must
 * find our handler. */
static bool may_be_on_the_way(void) { return ia2_sealed.backend == IA2_BACKEND_PKU && !__libc_single_threaded; }

static void end_locked(struct ia2_thread *thread) {
    if (--users == 0) {
        closer()->end();
        atomic_store_explicit(&closing, false, memory_order_relaxed);
        if (!may_be_on_the_way()) {
            ia2_signals_give_back();
            signals = false;
        }
        IA2_PROBE_OPEN(thread);
    }
}

/* A destructor after all: one that a stream's callback runs, by dlclose. Only under the lock. */
static void stop_lingering(void) {
    if (lingering) {
        lingering = NULL;
        end_locked(ia2_self());
    }
}

const char *ia2_close_begin(struct ia2_thread *thread) {
    if (!ia2_sealed.enforcing || ia2_sealed.allow_all) {
        return "nothing is enforced";
    }
    if (thread->closing) {
        return NULL;
    }
    if (lingering && ia2_lock_take(&lock)) {
        stop_lingering();
        ia2_lock_give(&lock);
    }
    const char *wrong = ia2_thread_slot(thread) == 0 ? "too many threads" : closer()->may_begin();
    if (!wrong && !ia2_lock_take(&lock)) {
        wrong = "a signal handler interrupted the closing of memory";
    } else if (!wrong) {
        ia2_signals_guard_thread(thread, true); /* first: handlers need a stack that stays open */
        wrong = begin_locked(thread);
        if (wrong) {
            ia2_signals_guard_thread(thread, false);
        }
        ia2_lock_give(&lock);
    }
    if (!wrong) {
        closer()->rest(thread);
    }
    return wrong;
}

void ia2_close_end(struct ia2_thread *thread) {
    if (!thread->closing || !ia2_lock_take(&lock)) {
        return;
    }
    thread->closing = false;
    closer()->stop_resting(thread);
    end_locked(thread);
    ia2_signals_guard_thread(thread, false);
    ia2_lock_give(&lock);
}

bool ia2_close_linger(struct ia2_thread *thread) {
    if (!thread->closing || !ia2_lock_take(&lock)) {
        return false;
    }
    if (users == 1 && closer()->linger()) {
        thread->closing = false;
        lingering = thread;
        IA2_PROBE_OPEN(thread);
    }
    ia2_lock_give(&lock);
    return lingering != NULL;
}

bool ia2_close_lingers(void) { return lingering != NULL; }

void ia2_close_when_idle(struct ia2_thread *thread) {
    if (thread->closing && thread->depth == 0 && thread->unloading == 0 && thread->finalising == 0 && !thread->exits) {
        ia2_close_end(thread);
    }
}

void ia2_close_catch_up(struct ia2_thread *thread) {
    if (thread->closing && ia2_changes_due(thread) && ia2_lock_take(&lock)) {
        closer()->catch_up(thread, ia2_changes_take(thread));
        ia2_lock_give(&lock);
    }
}

const char *ia2_close_enter(struct ia2_thread *thread, const struct ia2_rights *rights) {
    const char *wrong = thread->closing ? NULL : ia2_close_begin(thread);
    thread->rights = *rights; /* what a signal handler that comes before all is done gives back when it is through */
    return wrong ? wrong : closer()->enter(thread, rights);
}

void ia2_close_leave(struct ia2_thread *thread, const struct ia2_rights *outer) {
    thread->rights = *outer;
    if (thread->closing) {
        closer()->leave(thread, outer);
    }
}

const struct ia2_piece *ia2_closed_at(const struct ia2_thread *thread, uintptr_t address) {
    const struct ia2_piece *piece = ia2_is_closing() ? ia2_piece_known_at(address) : NULL;
    return piece && closer()->is_closed(thread, piece) ? piece : NULL;
}

void ia2_close_forget(uint32_t slot) {
    if (ia2_is_closing()) {
        ia2_pieces_forget(slot, closer()->open_piece);
    }
}

void ia2_open_for_core(ucontext_t *context) {
    if (ia2_sealed.backend == IA2_BACKEND_PKU) {
        ia2_frame_set_pkru(context, ia2_frame_pkru(context) & ~ia2_pku_our_bits());
    } else if (ia2_is_closing()) {
        closer()->end();
    }
}

bool ia2_pkru_of(uint16_t id, uint32_t *pkru) {
    *pkru = IA2_PKRU_SHARED;
    if (ia2_sealed.backend == IA2_BACKEND_PKU) {
        *pkru = ia2_pku_of(id);
        return true;
    }
    if (id > IA2_LAST_KEY) {
        return false;
    }
    *pkru &= ~ia2_key_bits(id);
    return true;
}

bool ia2_pkru_of_rights(const struct ia2_rights *rights, uint32_t *pkru) {
    if (rights->all) {
        *pkru = ia2_sealed.backend == IA2_BACKEND_PKU ? IA2_PKRU_OPEN | ia2_sealed.runtime_bits : IA2_PKRU_OPEN;
        return true;
    }
    uint32_t also;
    bool known = ia2_pkru_of(rights->owner, pkru);
    known = ia2_pkru_of(rights->also, &also) && known;
    *pkru &= also;
    return known;
}
