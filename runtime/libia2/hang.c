#include "hang.h"

#include "events.h"
#include "system.h"
#include "tasks.h"

void ia2_hang_dump(const siginfo_t *info, const ucontext_t *context) {
    if (info->si_code == SI_TKILL && info->si_pid == ia2_getpid()) {
        ia2_event_stack(context);
        return;
    }
    long folder = ia2_tasks_open();
    ia2_event_timeout(folder < 0 ? "the other threads are not known: /proc cannot be read" : "", context);
    if (folder >= 0) {
        ia2_tasks_signal_others(folder, info->si_signo);
        ia2_syscall1(SYS_close, folder);
    }
}
