/* From the first sign that the process exits to the last of its destructors. */
#include "backend.h"
#include "dispatch.h"
#include "events.h"
#include "map.h"
#include "objects.h"
#include "run.h"
#include "signals.h"
#include "system.h"
#include "tamper.h"
#include "words.h"

_Atomic bool ia2_unwatched_exit;

static _Atomic bool exiting;

bool ia2_exiting(void) { return atomic_load_explicit(&exiting, memory_order_relaxed); }

bool ia2_unloads(void) { return !ia2_exiting() || ia2_self()->unloading > 0; }

void ia2_exit_begin(enum ia2_exit_how how, int status) {
    static const char *const names[] = {"main", "exit", "quick_exit", "destructor"};
    ia2_self()->exits = true;
    if (ia2_exiting() || atomic_exchange(&exiting, true)) {
        return;
    }
    if (ia2_sealed.watching || ia2_sealed.enforcing) { /* before the event: who reads it may ask where we are */
        ia2_self()->pid = (uint32_t)ia2_getpid();      /* a forked child may exit, too */
        ia2_signals_take();
        ia2_signals_guard_thread(ia2_self(), true);
    }
    if (ia2_sealed.enforcing && ia2_sealed.mode != IA2_OBSERVE) {
        ia2_words_keep();
    }
    ia2_event_exit(names[how], status);
    ia2_objects_sync();
    const char *wrong = ia2_map_verify();
    if (wrong) {
        ia2_tampered("the exit map in memory was changed", wrong);
    }
    const bool unwatched = !ia2_sealed.watching && !ia2_sealed.enforcing && !ia2_sealed.allow_all;
    atomic_store_explicit(&ia2_unwatched_exit, unwatched, memory_order_relaxed);
    if (ia2_sealed.allow_all) {
        ia2_complain("IA2_EXIT_ALLOW_ALL=1", "every destructor of this exit runs with all memory open");
    } else if (ia2_sealed.enforcing) {
        (void)ia2_close_begin(
            ia2_self()); /* where it cannot be done now, each destructor tries again and says why not */
    }
}

/* Signals stay taken where that is how memory opens, or where somebody watches: a fault while stdio ends is told, too. */
void ia2_exit_end(void) {
    struct ia2_thread *thread = ia2_self();
    bool lingers = ia2_exiting() && ia2_close_linger(thread);
    if (!lingers) {
        ia2_close_end(thread);
    }
    if (lingers || ia2_sealed.watching) {
        (void)ia2_dispatch_intercept(ia2_dispatch_armed()); /* so the program sees its own signals as before */
    } else if (ia2_exiting() && ia2_sealed.enforcing) {
        ia2_signals_guard_thread(thread, false);
        ia2_signals_give_back();
    }
}
