#include "system.h"

#include <sys/mman.h>
#include <time.h>

void *ia2_map_memory(size_t size) {
    long result = ia2_syscall(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return result < 0 && result > -4096 ? NULL : (void *)result;
}

bool ia2_lock_take(ia2_lock *lock) {
    const uint64_t self = (uint64_t)ia2_getpid() << 32 | (uint32_t)ia2_gettid();
    uint64_t holder = 0;
    while (!atomic_compare_exchange_weak(lock, &holder, self)) {
        if (holder == self) {
            return false;
        }
        if (holder >> 32 == self >> 32) {
            holder = 0; /* a thread of this process: wait until it is free */
            ia2_syscall1(SYS_sched_yield, 0);
        } /* else its holder stayed behind at fork(): take it from there */
    }
    return true;
}

void ia2_lock_give(ia2_lock *lock) { atomic_store(lock, 0); }

uint64_t ia2_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* vDSO: no system call, async-signal-safe, cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool ia2_equal(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool ia2_starts_with(const char *text, const char *prefix) {
    while (*prefix) {
        if (*text++ != *prefix++) {
            return false;
        }
    }
    return true;
}

size_t ia2_length(const char *text) {
    size_t length = 0;
    while (text[length]) {
        length++;
    }
    return length;
}

const char *ia2_base_name(const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++) {
        if (*at == '/') {
            base = at + 1;
        }
    }
    return base;
}

bool ia2_glob(const char *pattern, const char *text) {
    const char *star = NULL; /* the last `*` seen, and how far the text had got: one level of backtracking is enough */
    const char *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

bool ia2_copy(char *to, size_t size, const char *from) {
    size_t length = 0;
    while (from[length] && length + 1 < size) {
        to[length] = from[length];
        length++;
    }
    to[length] = '\0';
    return from[length] == '\0';
}
