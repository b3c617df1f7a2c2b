/* System calls and small string helpers without libc: callable at any time, in signal handlers too.
 *
 * Each returns what the kernel returns: a negative number is -errno, and errno itself is never touched. Calls made here
 * cannot be interposed by the program or by a sanitizer, and need no symbol look-up at start.
 */
#ifndef IA2_SYSTEM_H
#define IA2_SYSTEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long ia2_syscall(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long ia2_syscall1(long number, long a) { return ia2_syscall(number, a, 0, 0, 0, 0, 0); }
static inline long ia2_syscall2(long number, long a, long b) { return ia2_syscall(number, a, b, 0, 0, 0, 0); }
static inline long ia2_syscall3(long number, long a, long b, long c) { return ia2_syscall(number, a, b, c, 0, 0, 0); }
static inline long ia2_syscall4(long number, long a, long b, long c, long d) {
    return ia2_syscall(number, a, b, c, d, 0, 0);
}

static inline int ia2_getpid(void) { return (int)ia2_syscall1(SYS_getpid, 0); }
static inline int ia2_getppid(void) { return (int)ia2_syscall1(SYS_getppid, 0); }
static inline int ia2_gettid(void) { return (int)ia2_syscall1(SYS_gettid, 0); }

static inline long ia2_mprotect(uintptr_t start, size_t size, int protection) {
    return ia2_syscall3(SYS_mprotect, (long)start, (long)size, protection);
}

/* A private anonymous mapping, readable and writable; NULL when the kernel has no memory for it. */
void *ia2_map_memory(size_t size);

/* A lock for the rare paths that change a table: who holds it, as pid << 32 | tid, 0 when nobody does. Not for signal handlers, but
 * one that comes in anyway does no harm. */
typedef _Atomic uint64_t ia2_lock;
/* Waits for the lock. Returns false, without it, when this very thread holds it: a signal handler or ld.so has come back in. A lock
 * that was held when the process forked is taken over: its holder does not exist here. */
bool ia2_lock_take(ia2_lock *lock);
void ia2_lock_give(ia2_lock *lock);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t ia2_now(void);

bool ia2_equal(const char *a, const char *b);
bool ia2_starts_with(const char *text, const char *prefix);
size_t ia2_length(const char *text);
/* The part after the last slash. */
const char *ia2_base_name(const char *path);
/* Does `text` match `pattern`, in which `*` stands for any run of characters and nothing else is special? */
bool ia2_glob(const char *pattern, const char *text);
/* Copies at most size-1 characters and always ends in NUL. Returns false when it had to cut. */
bool ia2_copy(char *to, size_t size, const char *from);

#endif
