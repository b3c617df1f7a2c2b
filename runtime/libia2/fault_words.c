#include "fault_words.h"

#include "bytes.h"
#include "guard.h"
#include "objects.h"
#include "system.h"
#include "unloaded.h"

/* Of a page fault (Intel SDM volume 3, "Page-Fault Exceptions"): its number, and bits of its error code. */
enum { PAGE_FAULT = 14, BY_WRITE = 2, BY_FETCH = 16 };

#define NULL_AREA                                                                                                      \
    0x10000u /* addresses that a NULL pointer and a member make: nothing is ever mapped there (mmap_min_addr) */

const char *ia2_fault_name(int signal) {
    switch (signal) {
    case SIGSEGV:
        return "segmentation fault";
    case SIGABRT:
        return "aborted";
    case SIGILL:
        return "illegal instruction";
    case SIGFPE:
        return "arithmetic exception";
    case SIGBUS:
        return "bus error";
    case SIGTRAP:
        return "trap";
    case SIGSYS:
        return "bad system call";
    default:
        return "deadly signal";
    }
}

/* ---- text ---------------------------------------------------------------------------------------------------------- */

struct text {
    char *at;
    size_t room;
};

static void add(struct text *text, const char *words) {
    for (; *words && text->room > 1; words++, text->room--) {
        bool plain = *words >= ' ' && *words <= '~' && *words != '"' && *words != '\\';
        *text->at++ = plain ? *words : '?';
    }
    *text->at = '\0';
}

static void add_number(struct text *text, unsigned number) {
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    add(text, at);
}

/* Of SIGSYS (kernel/seccomp.c, kernel/entry/syscall_user_dispatch.c). */
static void add_call(struct text *text, const siginfo_t *info) {
    enum { BY_SECCOMP = 1 };
    add(text, "system call ");
    add_number(text, (unsigned)info->si_syscall);
    add(text, info->si_code == BY_SECCOMP ? ", which a seccomp filter forbids"
                                          : ", which the program's own dispatch forbids");
}

/* ---- what memory was that? ------------------------------------------------------------------------------------------ */

static volatile uint8_t byte_read;

static void read_byte(void *address) { byte_read = ia2_load_byte((uintptr_t)address); }

static bool readable(uintptr_t address) { return ia2_guard_run(read_byte, (void *)address); }

/* An access just below the stack pointer, or above it where not even that is readable, while the stack is there further up. (A stack
 * pointer that was overwritten points to nothing on either side.) */
static bool is_stack_overflow(uintptr_t address, uintptr_t stack) {
    const uintptr_t near = 0x10000;
    if (address - (stack - near) > 2 * near || (address >= stack && readable(stack))) {
        return false;
    }
    for (uintptr_t distance = 0x1000; distance <= 0x1000000; distance *= 4) {
        if (readable(address + distance)) {
            return true;
        }
    }
    return false;
}

static void add_place(struct text *text, const char *before, uintptr_t address, const char *after) {
    uint32_t slot = ia2_object_at(address);
    const char *unloaded = ia2_unloaded_at(address);
    add(text, before);
    if (slot) {
        add(text, after);
        add(text, ia2_base_name(ia2_object(slot)->path));
    } else if (unloaded) {
        add(text, unloaded);
        add(text, ", which has been unloaded");
    } else {
        add(text, "an address in no object");
    }
}

static void add_jump(struct text *text, uintptr_t address) {
    if (address < NULL_AREA) {
        add(text, "a call of NULL, or a jump to it");
    } else {
        add_place(text, "a call of, or a jump to, ", address, "something that is not code, in ");
    }
}

static void add_access(struct text *text, const siginfo_t *info, const greg_t *registers) {
    uintptr_t address = (uintptr_t)info->si_addr;
    bool writes = (registers[REG_ERR] & BY_WRITE) != 0;
    if (registers[REG_ERR] & BY_FETCH) {
        add_jump(text, address);
    } else if (address < NULL_AREA) {
        add(text, writes ? "a write through a NULL pointer" : "a read through a NULL pointer");
    } else if (is_stack_overflow(address, (uintptr_t)registers[REG_RSP])) {
        add(text, "stack overflow");
    } else if (info->si_code == SEGV_ACCERR && writes) {
        add_place(text, "a write to ", address, "read-only memory of ");
    } else {
        add_place(text, writes ? "a write to " : "a read of ", address, "");
    }
}

/* Is it ud2, what compilers write for __builtin_trap()? */
static bool traps(uintptr_t instruction) {
    return readable(instruction) && readable(instruction + 1) && ia2_load_byte(instruction) == 0x0f &&
           ia2_load_byte(instruction + 1) == 0x0b;
}

void ia2_fault_words(char text[IA2_FAULT_WORDS_MAX], const siginfo_t *info, const ucontext_t *context) {
    struct text words = {text, IA2_FAULT_WORDS_MAX};
    const greg_t *registers = context->uc_mcontext.gregs;
    uintptr_t instruction = (uintptr_t)registers[REG_RIP];
    bool sent = info->si_code <= 0;
    text[0] = '\0';
    if (sent && info->si_pid != ia2_getpid()) {
        add(&words, "sent by process ");
        add_number(&words, (unsigned)info->si_pid);
    } else if (!sent && info->si_signo == SIGSEGV && registers[REG_TRAPNO] == PAGE_FAULT) {
        add_access(&words, info, registers);
    } else if (!sent && info->si_signo == SIGBUS && info->si_code == BUS_ADRERR) {
        add(&words, "a mapped file has become shorter");
    } else if (!sent && info->si_signo == SIGILL && traps(instruction)) {
        add(&words, "a trap that the compiler put where code must not come");
    } else if (!sent && info->si_signo == SIGTRAP && info->si_code == SI_KERNEL) {
        add(&words, "a breakpoint instruction");
    } else if (!sent && info->si_signo == SIGSYS) {
        add_call(&words, info);
    }
}
