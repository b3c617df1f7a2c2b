#include "dispatch_guest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dispatch.h"
#include "peek.h"
#include "syscall_perform.h"
#include "system.h"

unsigned char *guest_memory;
struct guest_touch guest_touched[256];
volatile int guest_touches;
static volatile int counter;
volatile int *guest_counter = &counter;
int guest_threads, guest_vforks;
enum ia2_touch guest_answer = IA2_TOUCH_REPEAT;
uintptr_t guest_escape;
bool guest_stuck;

enum { OPEN, READABLE, CLOSED };
static char state[GUEST_PAGES];

/* As the kernel has it: glibc's differs in order and size. */
struct action {
    void *handler;
    unsigned long flags;
    const void *restorer;
    uint64_t mask;
};

/* ---- closed memory ---- */

static void set(int first, int count, char to, int protection) {
    for (int page = first; page < first + count; page++) {
        state[page] = to;
    }
    if (ia2_mprotect((uintptr_t)guest_memory + (uintptr_t)first * GUEST_PAGE, (size_t)count * GUEST_PAGE, protection)) {
        __builtin_trap();
    }
}

void guest_close(int first, int count) { set(first, count, CLOSED, PROT_NONE); }

void guest_close_for_writing(int first, int count) { set(first, count, READABLE, PROT_READ); }

bool guest_is_closed(int page) { return state[page] != OPEN; }

bool ia2_closed_in(uintptr_t address, size_t size, bool write, uintptr_t *first) {
    uintptr_t start = (uintptr_t)guest_memory;
    for (int page = 0; start && page < GUEST_PAGES; page++, start += GUEST_PAGE) {
        bool closed = state[page] == CLOSED || (write && state[page] == READABLE);
        if (closed && address < start + GUEST_PAGE && (address >= start || start - address < size)) {
            *first = address > start ? address : start;
            return true;
        }
    }
    return false;
}

enum ia2_touch ia2_touched_by_syscall(ucontext_t *context, long number, uintptr_t address, bool write, bool known) {
    if (guest_touches < 256) {
        guest_touched[guest_touches++] = (struct guest_touch){number, address, write, known};
    }
    if (guest_escape) {
        context->uc_mcontext.gregs[REG_RIP] = (greg_t)guest_escape;
    } else if (guest_answer == IA2_TOUCH_REPEAT && !guest_stuck) {
        set((int)((address - (uintptr_t)guest_memory) / GUEST_PAGE), 1, OPEN, PROT_READ | PROT_WRITE);
    }
    return guest_answer;
}

void ia2_thread_is_coming(void) { guest_threads++; }

void ia2_vfork_is_coming(ucontext_t *context) {
    (void)context;
    guest_vforks++;
}

/* ---- signals ---- */

static struct action program_action;   /* of SIGSYS, as the program believes */
static __thread uint64_t program_mask; /* forced signals that the program believes to be blocked */

static long action_of_sigsys(const void *action, void *old) {
    struct action before = program_action;
    if (action && !ia2_peek(&program_action, (uintptr_t)action, sizeof program_action)) {
        return -EFAULT;
    }
    if (old) {
        memcpy(old, &before, sizeof before);
    }
    return 0;
}

long ia2_guest_sigaction(const ucontext_t *context, int number, const void *action, void *old, size_t size) {
    (void)context;
    struct action copy;
    if (number == SIGSYS && size == sizeof(uint64_t)) {
        return action_of_sigsys(action, old);
    }
    if (action && ia2_peek(&copy, (uintptr_t)action, sizeof copy)) {
        copy.mask &= ~IA2_FORCED_SIGNALS;
        action = &copy;
    }
    return ia2_syscall4(SYS_rt_sigaction, number, (long)action, (long)old, (long)size);
}

long ia2_guest_sigprocmask(const ucontext_t *context, int how, const void *set, void *old, size_t size) {
    (void)context;
    uint64_t before = program_mask;
    uint64_t wanted;
    uint64_t filtered;
    if (!set || size != sizeof wanted || !ia2_peek(&wanted, (uintptr_t)set, sizeof wanted)) {
        return ia2_syscall4(SYS_rt_sigprocmask, how, (long)set, (long)old, (long)size);
    }
    filtered = how == SIG_UNBLOCK ? wanted : wanted & ~IA2_FORCED_SIGNALS;
    long result = ia2_syscall4(SYS_rt_sigprocmask, how, (long)&filtered, (long)old, (long)size);
    if (result == 0) {
        uint64_t forced = wanted & IA2_FORCED_SIGNALS;
        program_mask = how == SIG_BLOCK ? before | forced : how == SIG_UNBLOCK ? before & ~forced : forced;
        if (old) {
            *(uint64_t *)old |= before;
        }
    }
    return result;
}

long ia2_guest_sigaltstack(const void *stack, void *old, ucontext_t *context) {
    long result = ia2_syscall2(SYS_sigaltstack, (long)stack, (long)old);
    if (result == 0 && stack) {
        memcpy(&context->uc_stack, stack, sizeof context->uc_stack);
    }
    return result;
}

/* ---- the handler ---- */

static void handle(int number, siginfo_t *info, void *context) {
    (void)number;
    if (info->si_code != 2 || !ia2_dispatch_armed()) {
        __builtin_trap(); /* no test sends another */
    }
    guest_dispatched++;
    ia2_dispatch_handle(info, context);
}

/* Before main: the tests work out addresses first. */
__attribute__((constructor)) static void map_pages(void) {
    size_t size = (GUEST_PAGES + 2) * GUEST_PAGE;
    long start = ia2_syscall(SYS_mmap, 0, (long)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start < 0 && start > -GUEST_PAGE) {
        abort();
    }
    ia2_syscall2(SYS_munmap, start, GUEST_PAGE);
    ia2_syscall2(SYS_munmap, start + (long)size - GUEST_PAGE, GUEST_PAGE);
    guest_memory = (unsigned char *)start + GUEST_PAGE;
    set(0, GUEST_PAGES, OPEN, PROT_READ | PROT_WRITE);
}

void guest_begin(void) {
    const unsigned long restorer = 0x04000000; /* SA_RESTORER */
    struct action action = {(void *)handle, SA_SIGINFO | SA_NODEFER | restorer, ia2_trampoline_sigreturn, 0};
    uint64_t forced = IA2_FORCED_SIGNALS;
    ia2_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&forced, 0, sizeof forced);
    if (ia2_syscall4(SYS_rt_sigaction, SIGSYS, (long)&action, 0, sizeof action.mask) || !ia2_dispatch_arm()) {
        abort();
    }
    ia2_dispatch_intercept(true);
}

void guest_end(void) {
    ia2_dispatch_intercept(false);
    ia2_dispatch_disarm();
}
