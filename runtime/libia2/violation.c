#include "violation.h"

#include <sys/mman.h>

#include "allowed.h"
#include "backend.h"
#include "events.h"
#include "frame.h"
#include "gate.h"
#include "guest.h"
#include "objects.h"
#include "probe.h"
#include "run.h"
#include "signals.h"
#include "step.h"
#include "switch.h"
#include "system.h"
#include "tally.h"
#include "unwind.h"
#include "words.h"

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* The runtime's own code reads dynamic sections, some of which are not under RELRO. */
static bool is_ours(uintptr_t instruction) {
    return instruction >= (uintptr_t)__ehdr_start && instruction < (uintptr_t)etext;
}

/* Instructions of one destructor that are let through one by one. What it touches as it may after that is opened to it: filling a stream's
 * buffer takes an instruction for each character. */
#define MOST_STEPS 256u
#define MOST_CALLERS 32u /* between a system call and its destructor */

static bool by_keys(void) { return ia2_sealed.backend == IA2_BACKEND_PKU; }

static int victim_of(uintptr_t address) {
    uint32_t slot = ia2_object_at(address);
    return slot ? ia2_object(slot)->compartment : -1;
}

/* ---- what happens to it -------------------------------------------------------------------------------------------------------------- */

static enum ia2_action choose(const struct ia2_thread *thread, bool may_open) {
    bool abandonable = thread->depth > 0 || thread->in_handler > 0;
    if (!may_open || ia2_sealed.mode == IA2_ENFORCE) {
        return IA2_ENDED;
    }
    return ia2_sealed.mode == IA2_CONTAIN && abandonable ? IA2_ABANDONED : IA2_OPENED;
}

static void close_again(const struct ia2_thread *thread, uintptr_t page) {
    const struct ia2_piece *piece = ia2_closed_at(thread, page);
    ia2_count(&ia2_tally_of(piece ? piece->compartment : IA2_NO_OWNER)->mprotect);
    ia2_mprotect(page, IA2_PAGE, PROT_NONE);
}

/* Opens the page for the rest of this destructor, for reading only where it was read: a later write is to be noticed, too. */
static void open_page(struct ia2_thread *thread, const struct ia2_piece *piece, uintptr_t address, bool write) {
    uintptr_t page = address & ~(uintptr_t)(IA2_PAGE - 1);
    int protection = write ? piece->protection : piece->protection & ~PROT_WRITE;
    uint8_t at = 0;
    while (at < thread->touched && (thread->touched_pages[at] & ~(uintptr_t)(IA2_PAGE - 1)) != page) {
        at++;
    }
    if (at ==
        (uint8_t)
            IA2_TOUCHED) { /* more pages than we keep count of: the oldest is closed again, and may be touched again */
        close_again(thread, thread->touched_pages[0] & ~(uintptr_t)(IA2_PAGE - 1));
        for (at = 0; at + 1u < IA2_TOUCHED; at++) {
            thread->touched_pages[at] = thread->touched_pages[at + 1];
        }
        thread->touched--;
    }
    thread->touched_pages[at] = page | (uintptr_t)protection;
    if (at == thread->touched) {
        thread->touched++;
    }
    ia2_count(&ia2_tally_of(piece->compartment)->mprotect);
    ia2_mprotect(page, IA2_PAGE, protection);
}

int ia2_opened_with(const struct ia2_thread *thread, uintptr_t address) {
    for (uint8_t i = 0; i < thread->touched; i++) {
        if (((thread->touched_pages[i] ^ address) & ~(uintptr_t)(IA2_PAGE - 1)) == 0) {
            return (int)(thread->touched_pages[i] & (IA2_PAGE - 1));
        }
    }
    return 0;
}

/* Is the page open already, as far as the object itself ever had it? Then the fault is no touch of closed memory. */
static bool is_fully_open(const struct ia2_thread *thread, const struct ia2_piece *piece, uintptr_t address) {
    return ia2_opened_with(thread, address) == piece->protection;
}

static void open_key(struct ia2_thread *thread, ucontext_t *context, unsigned key, bool write) {
    uint32_t pkru = ia2_frame_pkru(context) & ~ia2_key_bits(key);
    pkru |= write ? 0 : 2u << (2 * key); /* the second bit denies writing only */
    ia2_frame_set_pkru(context, pkru);
    thread->pkru = pkru;
}

static void abandon(const struct ia2_thread *thread, ucontext_t *context) {
    greg_t *registers = context->uc_mcontext.gregs;
    uint32_t slot = ia2_thread_slot(thread);
    uint32_t place = thread->in_handler ? slot + IA2_THREADS : slot;
    registers[REG_RSP] = (greg_t)ia2_call_sp[place];
    registers[REG_R14] = (greg_t)place;
    registers[REG_RBP] = (greg_t)ia2_call_sp[place] + IA2_CALL_FRAME;
    registers[REG_R12] = (greg_t)slot;
    registers[REG_RIP] = (greg_t)(by_keys() ? ia2_call_pku_abandoned : ia2_call_abandoned);
    registers[REG_EFL] &= ~(greg_t)(IA2_TRAP_FLAG | 0x400); /* and the direction flag */
}

static void say(const struct ia2_violation *violation) {
    static const char *const did[] = {"read", "write", "touch"};
    struct ia2_words words;
    ia2_words_begin(&words, "libia2.so: violation: ");
    struct ia2_running running;
    if (ia2_running(&running)) {
        ia2_words_text(&words, "the destructor at ");
        ia2_words_place(&words, running.record->function);
        ia2_words_text(&words, " of compartment ");
        ia2_words_compartment(&words, running.record->owner);
    } else {
        ia2_words_text(&words, "code between destructors");
    }
    ia2_words_text(&words, violation->via == IA2_VIA_SYSCALL ? " had the kernel " : " tried to ");
    ia2_words_text(&words, did[violation->access]);
    ia2_words_text(&words, " ");
    ia2_words_place(&words, violation->address);
    if (violation->victim >= 0) {
        ia2_words_text(&words, " of compartment ");
        ia2_words_compartment(&words, (uint16_t)violation->victim);
    }
    ia2_words_text(&words, violation->action == IA2_ENDED ? ": the process ends here"
                           : violation->handler           ? ": that signal handler is abandoned"
                                                          : ": that destructor is abandoned");
    ia2_words_end(&words);
}

static void report(struct ia2_thread *thread, const struct ia2_violation *violation, const ucontext_t *context) {
    IA2_PROBE_VIOLATION(violation);
    if (thread->running && thread->in_handler == 0) {
        ia2_record_set_outcome(thread->running, violation->action == IA2_ABANDONED ? IA2_CONTAINED : IA2_VIOLATION);
    }
    ia2_event_violation(violation, context);
    if (violation->action != IA2_OPENED) {
        say(violation);
    }
}

static void end_process(const struct ia2_violation *violation, const siginfo_t *given, ucontext_t *context) {
    siginfo_t info = {.si_signo = SIGSEGV, .si_code = SEGV_ACCERR};
    info.si_addr = (void *)violation->address;
    ia2_event_end("signal", IA2_STATUS_UNKNOWN);
    ia2_open_for_core(context);
    ia2_signals_end(SIGSEGV, given ? given : &info, context);
}

/* ---- by an instruction ------------------------------------------------------------------------------------------------------------------ */

/* Backend pku: a thread that runs no destructor, or code in a signal handler that we do not stand around, meets tagged pages. */
static bool open_for_bystander(const struct ia2_thread *thread, uintptr_t address, ucontext_t *context) {
    uint32_t pkru = ia2_frame_pkru(context);
    bool unenforced = thread->depth == 0 && !thread->resting && thread->in_handler == 0;
    if (!unenforced && pkru != IA2_PKRU_INITIAL) {
        return false;
    }
    int victim = victim_of(address);
    ia2_count(&ia2_tally_of(victim < 0 ? IA2_NO_OWNER : (uint16_t)victim)->bystander);
    return ia2_frame_set_pkru(context, ia2_sealed.runtime_bits);
}

/* The destructor goes on after a longjmp out of a signal handler, with rights that are not its own: it gets its own back. */
static bool give_rights_back(struct ia2_thread *thread, ucontext_t *context) {
    uint16_t handlers = thread->in_handler;
    ia2_signals_handler_left(thread, context);
    if (handlers == 0 || thread->in_handler != 0) {
        return false;
    }
    return !by_keys() || ia2_frame_set_pkru(context, thread->pkru);
}

/* The kernel says which key the page has when it looks (`si_pkey`; arch/x86/mm/fault.c), not which one the CPU met: another thread may have
 * tagged it anew in between. Then the instruction need only be tried again. */
static bool is_open_by_now(const ucontext_t *context, unsigned key) {
    const uint32_t bits = ia2_frame_pkru(context) >> (2 * key) & 3u;
    return bits == 0 ||
           (bits == 2 && !ia2_frame_was_write(context)); /* 1: no access, 2: no write (Intel SDM volume 3, 4.6.2) */
}

bool ia2_touched_by_instruction(const siginfo_t *info, ucontext_t *context) {
    struct ia2_thread *thread = ia2_self();
    uintptr_t address = (uintptr_t)info->si_addr;
    bool keys = by_keys();
    bool closing = ia2_is_closing();
    if ((!closing && !keys) || !ia2_frame_is_page_fault(context) || ia2_frame_was_fetch(context) ||
        (keys && info->si_code != SEGV_PKUERR)) {
        return false;
    }
    unsigned key = keys ? (unsigned)info->si_pkey & IA2_LAST_KEY : 0;
    bool runtimes = keys && key == ia2_sealed.runtime_key;
    if (keys && is_open_by_now(context, key)) {
        return true;
    }
    if (!closing && (runtimes || !((uint32_t)ia2_key_bits(key) & ia2_pku_our_bits()))) {
        return false; /* a key of the program's own; of ours, the page has been opened since the fault */
    }
    if (give_rights_back(thread, context) || (keys && !runtimes && open_for_bystander(thread, address, context))) {
        return true;
    }
    if (!closing) {
        return false;
    }
    const struct ia2_piece *piece = ia2_closed_at(thread, address);
    bool write = ia2_frame_was_write(context);
    if (!keys && (!piece || is_fully_open(thread, piece, address))) {
        return false;
    }
    uintptr_t instruction = ia2_frame_ip(context);
    bool allowed =
        !runtimes && piece && (is_ours(instruction) || ia2_touch_allowed(piece->slot, address, write, instruction));
    if (allowed && !keys && thread->steps++ >= MOST_STEPS) {
        open_page(thread, piece, address, write);
        return true;
    }
    if (allowed && ia2_step_over(context, piece, address, keys ? ia2_key_bits(key) : 0)) {
        return true;
    }
    ia2_step_cancel(context);
    const struct ia2_violation violation = {
        .via = IA2_VIA_INSTRUCTION,
        .access = write ? IA2_WRITE : IA2_READ,
        .action = choose(thread, !runtimes),
        .address = address,
        .instruction = instruction,
        .known = true,
        .handler = thread->in_handler > 0,
        .victim = runtimes ? -1 : victim_of(address),
    };
    report(thread, &violation, context);
    if (violation.action == IA2_ENDED) {
        end_process(&violation, info, context);
    } else if (violation.action == IA2_ABANDONED) {
        abandon(thread, context);
    } else if (keys) {
        open_key(thread, context, key, write);
    } else {
        open_page(thread, piece, address, write);
    }
    return true;
}

/* ---- by a system call --------------------------------------------------------------------------------------------------------------------- */

/* Closed to the interrupted code? */
static bool is_closed_to(const struct ia2_thread *thread, const struct ia2_piece *piece, uintptr_t address,
                         bool write) {
    if (by_keys()) {
        unsigned key = ia2_key_of(piece->compartment);
        return key != 0 && (thread->pkru >> (2 * key) & (write ? 3u : 1u)) != 0;
    }
    int open = ia2_opened_with(thread, address);
    return !(open & (write ? PROT_WRITE : PROT_READ)) && (piece->protection & (write ? PROT_WRITE : PROT_READ));
}

bool ia2_closed_in(uintptr_t address, size_t size, bool write, uintptr_t *first) {
    struct ia2_thread *thread = ia2_self();
    uintptr_t end = address + size < address ? UINTPTR_MAX : address + size;
    for (uintptr_t at = address; at < end;) {
        const struct ia2_piece *piece = ia2_closed_at(thread, at);
        if (piece && is_closed_to(thread, piece, at, write)) {
            *first = at;
            return true;
        }
        uintptr_t next = (at & ~(uintptr_t)(IA2_PAGE - 1)) + IA2_PAGE;
        if (next < at) {
            break;
        }
        at = next;
    }
    return false;
}

/* Asked for those who made the call, as far as the destructor: frames of ours follow. Where there are no unwind tables, its own object is
 * all that is known of them. */
static bool is_allowed_call(const struct ia2_thread *thread, const struct ia2_piece *piece, uintptr_t address,
                            bool write, const ucontext_t *context) {
    uintptr_t frames[MOST_CALLERS + 1];
    size_t found = ia2_unwind(context, frames, MOST_CALLERS);
    size_t count = 0;
    while (count < found && !is_ours(frames[count])) {
        count++;
    }
    if (thread->running) {
        frames[count++] = thread->running->function;
    }
    const struct ia2_callers callers = {frames, count};
    return ia2_buffer_allowed(piece->slot, address, 1, write, &callers) != IA2_NOT_ALLOWED;
}

enum ia2_touch ia2_touched_by_syscall(ucontext_t *context, long number, uintptr_t address, bool write, bool known) {
    struct ia2_thread *thread = ia2_self();
    const struct ia2_piece *piece = ia2_closed_at(thread, address);
    if (!piece) {
        return IA2_TOUCH_LEAVE;
    }
    unsigned key = by_keys() ? ia2_key_of(piece->compartment) : 0;
    bool allowed = is_allowed_call(thread, piece, address, write, context);
    const struct ia2_violation violation = {
        .via = IA2_VIA_SYSCALL,
        .access = !known  ? IA2_ACCESS_UNKNOWN
                  : write ? IA2_WRITE
                          : IA2_READ,
        .action = allowed ? IA2_OPENED : choose(thread, true),
        .address = address,
        .instruction = ia2_frame_ip(context),
        .syscall = number,
        .known = true,
        .handler = thread->in_handler > 0,
        .victim = victim_of(address),
    };
    if (!allowed) {
        report(thread, &violation, context);
    }
    if (violation.action == IA2_ENDED) {
        end_process(&violation, NULL, context);
        return IA2_TOUCH_LEAVE;
    }
    if (violation.action == IA2_ABANDONED) {
        abandon(thread, context);
        return IA2_TOUCH_LEAVE;
    }
    if (by_keys()) {
        open_key(thread, context, key, write || !known);
    } else {
        open_page(thread, piece, address, write || !known);
    }
    return IA2_TOUCH_REPEAT;
}
