#include "tamper.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "system.h"

/* What the kernel takes for a sigaction (asm/signal.h): all zero is the default action. */
struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* By SIGABRT, past any handler of the program's: its state is no longer to be trusted, and a core file is of use. */
_Noreturn void ia2_tampered(const char *what, const char *detail) {
    const struct kernel_action by_default = {0};
    const uint64_t abort_only = 1ul << (SIGABRT - 1);
    ia2_complain(what, detail ? detail : "");
    ia2_event_fault(what, detail);
    for (;;) {
        ia2_syscall4(SYS_rt_sigaction, SIGABRT, (long)&by_default, 0, sizeof abort_only);
        ia2_syscall3(SYS_tgkill, ia2_getpid(), ia2_gettid(), SIGABRT);
        ia2_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&abort_only, 0, sizeof abort_only);
    }
}
