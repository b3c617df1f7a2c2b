#include "thread.h"

#include <errno.h>

#include "ordered.h"
#include "system.h"
#include "vault.h"

struct ia2_thread ia2_threads[IA2_THREADS] IA2_LARGE;
__thread uint32_t ia2_thread_hint;
#ifdef __SANITIZE_THREAD__
_Atomic unsigned ia2_ordered_by_loader;
#endif

_Static_assert(offsetof(struct ia2_thread, pkru) == IA2_THREAD_PKRU, "switch.S reads it");
_Static_assert(offsetof(struct ia2_thread, depth) == IA2_THREAD_DEPTH, "switch.S reads it");
_Static_assert(sizeof(struct ia2_thread) == IA2_THREAD_SIZE, "switch.S counts in it");

static ia2_lock lock;
static uint32_t highest; /* slot handed out so far; only under the lock */

/* A slot whose thread is gone: the kernel does not know its number any more. */
static bool is_gone(const struct ia2_thread *thread) {
    if (thread->pid !=
        (uint32_t)ia2_getpid()) { /* from before a fork: only the one that forked may be in need of what it says */
        return thread->depth == 0 && !thread->closing;
    }
    return ia2_syscall3(SYS_tgkill, ia2_getpid(), thread->tid, 0) == -ESRCH;
}

static struct ia2_thread *find_slot(uintptr_t base) {
    for (uint32_t slot = 1; slot <= highest; slot++) {
        if (ia2_threads[slot].base == base) {
            return &ia2_threads[slot]; /* of a thread that had its control block here before, or whose hint is gone */
        }
    }
    if (highest + 1 < IA2_THREADS) {
        return &ia2_threads[++highest];
    }
    for (uint32_t slot = 1; slot <= highest; slot++) {
        if (is_gone(&ia2_threads[slot])) { /* its stack is kept for the next one */
            return &ia2_threads[slot];
        }
    }
    return &ia2_threads[0];
}

struct ia2_thread *ia2_thread_slow(void) {
    uintptr_t base = (uintptr_t)__builtin_thread_pointer();
    uint32_t tid = (uint32_t)ia2_gettid();
    if (!ia2_lock_take(&lock)) {
        return &ia2_threads[0]; /* a signal handler interrupted this very function */
    }
    struct ia2_thread *thread = find_slot(base);
    uint32_t pid = (uint32_t)ia2_getpid();
    bool forked = thread->base == base && thread->pid != pid && tid == pid; /* the same thread, in a child */
    if (thread != ia2_threads && !forked && (thread->base != base || thread->tid != tid)) {
        ia2_ordered_after();
        void *stack = thread->alternate_stack;
        *thread = (struct ia2_thread){.base = base, .alternate_stack = stack};
    }
    thread->tid = tid;
    thread->pid = pid;
    ia2_lock_give(&lock);
    ia2_thread_hint = ia2_thread_slot(thread);
    return thread;
}

/* Not of a thread that has ended, or that is the parent's: of those only the one that forked is here, which is the calling one. */
static bool is_here(const struct ia2_thread *thread) {
    const bool ours = thread->pid == (uint32_t)ia2_getpid();
    return ours ? !is_gone(thread) : thread->base == (uintptr_t)__builtin_thread_pointer();
}

uint64_t ia2_threads_running_since(uint64_t none) {
    uint64_t earliest = none;
    const bool taken = ia2_lock_take(&lock);
    for (uint32_t slot = 1; slot <= highest; slot++) { /* slot 0 is several threads', and enforces nothing */
        const uint64_t since = atomic_load(&ia2_threads[slot].running_since);
        earliest = since != 0 && since < earliest && is_here(&ia2_threads[slot]) ? since : earliest;
    }
    if (taken) {
        ia2_lock_give(&lock);
    }
    return earliest;
}
