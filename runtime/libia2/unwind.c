#include "unwind.h"

#include <dlfcn.h>
#include <sys/syscall.h>

#include "cfi.h"
#include "guard.h"

/* ---- one step ------------------------------------------------------------------------------------------------------ */

static void read_context(struct ia2_frame *frame, const ucontext_t *context) {
    /* Registers of a signal context by their DWARF numbers. */
    static const uint8_t places[IA2_FRAME_REGISTERS] = {
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
        REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
    };
    for (unsigned i = 0; i < IA2_FRAME_REGISTERS; i++) {
        frame->reg[i] = ia2_load((uintptr_t)&context->uc_mcontext.gregs[places[i]]);
    }
    frame->exact = true;
}

static bool in_object(uintptr_t address) {
    struct dl_find_object object;
    return _dl_find_object((void *)address, &object) == 0;
}

/* Does a call come just before `address`? (Intel SDM volume 2, CALL: E8 rel32; FF /2, two to seven bytes long.) */
static bool follows_call(uintptr_t address) {
    if (!in_object(address) || !in_object(address - 7)) {
        return false;
    }
    bool indirect = false;
    for (unsigned length = 2; length <= 7; length++) {
        indirect |= ia2_load_byte(address - length) == 0xff && (ia2_load_byte(address - length + 1) & 0x38) == 0x10;
    }
    return indirect || ia2_load_byte(address - 5) == 0xe8;
}

/* A signal frame of someone who brought a restorer of their own: mov $__NR_rt_sigreturn, %rax; syscall. The kernel has put
 * the context just above the return address that led here. */
static bool past_restorer(struct ia2_frame *frame) {
    static const uint8_t restorer[] = {0x48, 0xc7, 0xc0, SYS_rt_sigreturn, 0, 0, 0, 0x0f, 0x05};
    uintptr_t at = frame->reg[IA2_RIP];
    if (!in_object(at)) {
        return false;
    }
    for (unsigned i = 0; i < sizeof restorer; i++) {
        if (ia2_load_byte(at + i) != restorer[i]) {
            return false;
        }
    }
    read_context(frame, (const ucontext_t *)frame->reg[IA2_RSP]);
    return true;
}

/* Nothing is written down about this code, or there is no code at all (a call of NULL, of something unloaded): if it has only just
 * been called, its return address is on top of the stack. */
static bool back_from_call(struct ia2_frame *frame) {
    uintptr_t address = frame->exact ? ia2_load(frame->reg[IA2_RSP]) : 0;
    if (!follows_call(address)) {
        return false;
    }
    frame->reg[IA2_RIP] = address;
    frame->reg[IA2_RSP] += sizeof address;
    frame->exact = false;
    return true;
}

/* Or it keeps a frame pointer: the caller's is where it points to, the return address above it. */
static bool by_frame_pointer(struct ia2_frame *frame) {
    uintptr_t pointer = frame->reg[IA2_RBP];
    if (pointer < frame->reg[IA2_RSP] || pointer % sizeof pointer ||
        !follows_call(ia2_load(pointer + sizeof pointer))) {
        return false;
    }
    frame->reg[IA2_RBP] = ia2_load(pointer);
    frame->reg[IA2_RIP] = ia2_load(pointer + sizeof pointer);
    frame->reg[IA2_RSP] = pointer + 2 * sizeof pointer;
    frame->exact = false;
    return true;
}

/* What is written down about the code of a frame. In a recursion the next frame is of the same code. */
struct known {
    uintptr_t address; /* 0: nothing was looked up yet */
    bool found;
    struct ia2_cfi cfi;
};

static void look_up(struct known *known, const struct ia2_frame *frame) {
    uintptr_t address = frame->reg[IA2_RIP] - (frame->exact ? 0 : 1);
    if (address != known->address || address == 0) {
        known->found = ia2_cfi_find(address, &known->cfi);
        known->address = address;
    }
}

/* From a frame to its caller's; false: there is none, or nobody knows. */
static bool step(struct ia2_frame *frame, const struct known *known) {
    const uintptr_t stack = frame->reg[IA2_RSP];
    const bool exact = frame->exact;
    if (!known->found) {
        return past_restorer(frame) || back_from_call(frame) || by_frame_pointer(frame);
    }
    if (!ia2_cfi_step(&known->cfi, frame) || frame->reg[IA2_RIP] == 0) {
        return false;
    }
    /* Only a signal frame leads to another stack, and only what is running may be without a frame (trampolines.S). Anything else that
     * does not go up goes round in circles. */
    return known->cfi.signal_frame || frame->reg[IA2_RSP] > stack || (exact && frame->reg[IA2_RSP] == stack);
}

/* ---- the whole way ------------------------------------------------------------------------------------------------- */

#define MOST_STEPS (1u << 20) /* a stack of 8 MiB has fewer frames */

struct walk {
    const ucontext_t *context;
    ia2_visit *visit;
    void *to;
};

static void walk(void *argument) {
    const struct walk *walk = argument;
    struct ia2_frame frame;
    struct known known = {.address = 0};
    read_context(&frame, walk->context);
    for (uint32_t steps = 0; steps < MOST_STEPS; steps++) {
        uintptr_t *function = walk->visit(walk->to, frame.reg[IA2_RIP]);
        __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the frame is there, whenever the work is interrupted */
        if (!function) {
            return;
        }
        look_up(&known, &frame);
        *function = known.found ? known.cfi.function : 0;
        if (!step(&frame, &known)) {
            return;
        }
    }
}

void ia2_unwind_each(const ucontext_t *context, ia2_visit *visit, void *to) {
    struct walk all = {context, visit, to};
    uint64_t mask =
        ia2_guard_unblock(); /* the interrupted code may have had them blocked, and so has its handler then */
    ia2_guard_run(walk, &all);
    ia2_guard_restore(mask);
}

/* ---- its inner end ------------------------------------------------------------------------------------------------- */

struct list {
    uintptr_t *frames;
    size_t room, count;
    uintptr_t function; /* nobody asks */
};

static uintptr_t *add(void *to, uintptr_t address) {
    struct list *list = to;
    list->frames[list->count++] = address;
    return list->count < list->room ? &list->function : NULL;
}

size_t ia2_unwind(const ucontext_t *context, uintptr_t *frames, size_t room) {
    struct list list = {.frames = frames, .room = room};
    if (room > 0) {
        ia2_unwind_each(context, add, &list);
    }
    return list.count;
}
