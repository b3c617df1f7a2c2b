#include "park.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_action.h"
#include "switch.h"
#include "system.h"
#include "tasks.h"

#define PARK_SIGNAL 61       /* SIGRTMAX - 3 */
#define PATIENCE 1000000000u /* nanoseconds that the others have to come to a stop */

static _Atomic uint32_t standing; /* futex: 1 while the others are to stand still */
static _Atomic uint32_t parked;   /* threads that do */
static bool all_parked;
static bool given_up; /* one did not stop: asking again would take as long each time */

static void stand_still(int number) {
    (void)number;
    atomic_fetch_add(&parked, 1);
    while (atomic_load(&standing) != 0) {
        ia2_syscall(SYS_futex, (long)&standing, FUTEX_WAIT_PRIVATE, 1, 0, 0, 0);
    }
    atomic_fetch_sub(&parked, 1);
}

static long set_handler(uintptr_t handler, struct ia2_kernel_action *old) {
    const struct ia2_kernel_action action = {
        .handler = handler,
        .flags = SA_RESTART | IA2_SA_RESTORER,
        .restorer = (uintptr_t)ia2_sigaction_return,
        .mask = ~0ul, /* nothing else of theirs runs meanwhile */
    };
    return ia2_syscall4(SYS_rt_sigaction, PARK_SIGNAL, (long)&action, (long)old, sizeof action.mask);
}

/* Signals the others until all of them stand: one that was just being created is in the next list. A thread that stands has the signal
 * blocked, and gets what is sent meanwhile when it goes on; then it goes on at once. */
static bool stop_all(long folder) {
    const uint64_t start = ia2_now();
    uint32_t asked = 0;
    do {
        uint32_t others = ia2_tasks_count_others(folder);
        if (others == atomic_load(&parked)) {
            return true;
        }
        if (others > asked) {
            asked = ia2_tasks_signal_others(folder, PARK_SIGNAL);
        }
        ia2_syscall1(SYS_sched_yield, 0);
    } while (ia2_now() - start < PATIENCE);
    return false;
}

bool ia2_park_others(void) {
    struct ia2_kernel_action old;
    if (all_parked || given_up || set_handler((uintptr_t)stand_still, &old) != 0) {
        return all_parked;
    }
    long folder = ia2_tasks_open();
    atomic_store(&standing, 1);
    all_parked = folder >= 0 && stop_all(folder);
    if (folder >= 0) {
        ia2_syscall1(SYS_close, folder);
    }
    if (!all_parked) {
        given_up = true;
        ia2_unpark_others();
    }
    return all_parked;
}

bool ia2_others_are_parked(void) { return all_parked; }

void ia2_unpark_others(void) {
    if (atomic_exchange(&standing, 0) != 0) {
        all_parked = false;
        ia2_syscall(SYS_futex, (long)&standing, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
    }
}
