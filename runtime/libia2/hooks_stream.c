/* fopencookie() in front of glibc's. Anybody may use a stream, so its callbacks run in whoever's destructor flushes, reads or closes it;
 * they are code of the program that made it, and work on that one's data. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "allowed.h"
#include "borrow.h"
#include "cookies.h"
#include "events.h"
#include "gate.h"
#include "objects.h"
#include "run.h"
#include "sealed.h"

/* One call of a callback: what it needs, and what is to be undone. */
struct visit {
    uintptr_t function; /* 0: the program gave none */
    void *cookie;
    struct ia2_borrowed borrowed;
};

/* What glibc hands over for the callback to read or, with `fills`, to fill: its user's own, or the buffer of a stream. */
struct handed {
    const void *start;
    size_t size;
    bool fills;
};

static uint16_t compartment_at(uintptr_t address) {
    uint32_t slot = ia2_object_at(address);
    return slot ? ia2_object(slot)->compartment : 0;
}

/* The compartment whose data is handed over, where whoever uses the stream may have it read or filled; 0: none. */
static uint16_t lender(const struct ia2_rights *user, const struct handed *handed) {
    const uintptr_t start = (uintptr_t)handed->start;
    const uint16_t compartment = handed->size ? compartment_at(start) : 0;
    bool covered = user->all || compartment == user->owner || compartment == user->also;
    bool lent =
        compartment && (covered || ia2_buffer_allowed(ia2_object_at(start), start, handed->size, handed->fills, NULL));
    return lent ? compartment : 0;
}

/* The compartment of the object that holds the callback or, where that is shared, of the code that made the stream; all rights where no
 * object does (code made at run time). Returns false where all that is shared code on behalf of nobody in particular. */
static bool rights_of_callback(const struct visit *visit, uint16_t caller, struct ia2_rights *rights) {
    const uint16_t holder = compartment_at(visit->function);
    *rights =
        (struct ia2_rights){.owner = holder ? holder : caller, .all = ia2_object_at(visit->function) == IA2_NO_OBJECT};
    return rights->owner != 0 || rights->all;
}

static uint32_t borrow(struct visit *visit, uint16_t caller, const struct handed *handed, uint32_t before) {
    const struct ia2_thread *thread = ia2_self();
    struct ia2_rights rights;
    if (!thread->closing || !rights_of_callback(visit, caller, &rights)) {
        return before;
    }
    rights.also = handed ? lender(&thread->rights, handed) : 0;
    return ia2_borrow(&visit->borrowed, &rights, before);
}

static void refuse(void) {
    ia2_count(&ia2_counters.refused);
    ia2_event_fault("a stream's callback was refused", "glibc came back with a number that names no such stream");
}

/* Returns false, with errno set, where glibc's memory holds a number that we gave to no stream with this callback. */
static bool enter(struct visit *visit, void *number, enum ia2_cookie_call call, const struct handed *handed) {
    struct ia2_cookie cookie;
    *visit = (struct visit){0};
    uint32_t before = ia2_gate_open();
    bool known =
        ia2_cookie_find((ia2_cookie_number)number, &cookie) && (cookie.functions[call] || call == IA2_COOKIE_CLOSE);
    if (!known) {
        refuse();
    } else if (cookie.functions[call]) {
        visit->function = cookie.functions[call];
        visit->cookie = cookie.cookie;
        before = borrow(visit, cookie.caller, handed, before);
    }
    ia2_gate_close(before);
    if (!known) {
        errno = EBADF;
    }
    return known;
}

static void leave(const struct visit *visit) {
    if (visit->borrowed.done) {
        (void)ia2_gate_open();
        ia2_gate_close(ia2_borrow_end(&visit->borrowed));
    }
}

static ssize_t read_cookie(void *number, char *buffer, size_t size) {
    struct visit visit;
    const struct handed handed = {buffer, size, true};
    if (!enter(&visit, number, IA2_COOKIE_READ, &handed)) {
        return -1;
    }
    ssize_t result = ((cookie_read_function_t *)visit.function)(visit.cookie, buffer, size);
    leave(&visit);
    return result;
}

static ssize_t write_cookie(void *number, const char *buffer, size_t size) {
    struct visit visit;
    const struct handed handed = {buffer, size, false};
    if (!enter(&visit, number, IA2_COOKIE_WRITE, &handed)) {
        return 0; /* what fopencookie(3) wants for an error */
    }
    ssize_t result = ((cookie_write_function_t *)visit.function)(visit.cookie, buffer, size);
    leave(&visit);
    return result;
}

static int seek_cookie(void *number, off64_t *position, int from) {
    struct visit visit;
    if (!enter(&visit, number, IA2_COOKIE_SEEK, NULL)) {
        return -1;
    }
    int result = ((cookie_seek_function_t *)visit.function)(visit.cookie, position, from);
    leave(&visit);
    return result;
}

static void forget(ia2_cookie_number number) {
    uint32_t before = ia2_gate_open();
    ia2_cookie_forget(number);
    ia2_gate_close(before);
}

static int close_cookie(void *number) {
    struct visit visit;
    if (!enter(&visit, number, IA2_COOKIE_CLOSE, NULL)) {
        return -1;
    }
    int result = 0; /* what glibc takes for the answer of a stream without this callback */
    if (visit.function) {
        result = ((cookie_close_function_t *)visit.function)(visit.cookie);
        leave(&visit);
    }
    forget((ia2_cookie_number)number);
    return result;
}

static ia2_cookie_number keep(void *cookie, const cookie_io_functions_t *given, uintptr_t caller) {
    uint32_t before = ia2_gate_open();
    const uint32_t slot = ia2_object_at_now(caller);
    const struct ia2_cookie kept = {
        .functions = {(uintptr_t)given->read, (uintptr_t)given->write, (uintptr_t)given->seek, (uintptr_t)given->close},
        .cookie = cookie,
        .caller = slot ? ia2_object(slot)->compartment : 0,
    };
    ia2_cookie_number number = ia2_cookie_keep(&kept);
    ia2_gate_close(before);
    return number;
}

IA2_PUBLIC FILE *fopencookie(void *cookie, const char *mode, cookie_io_functions_t given) {
    ia2_real_resolve();
    bool covered = ia2_sealed.ready && ia2_sealed.enforcing;
    ia2_cookie_number number = covered ? keep(cookie, &given, (uintptr_t)__builtin_return_address(0)) : 0;
    if (number == 0) {
        return ia2_sealed.real.fopencookie(cookie, mode, given);
    }
    const cookie_io_functions_t ours = {
        .read = given.read ? read_cookie : NULL,
        .write = given.write ? write_cookie : NULL,
        .seek = given.seek ? seek_cookie : NULL,
        .close = close_cookie,
    };
    FILE *stream = ia2_sealed.real.fopencookie((void *)number, mode, ours);
    if (!stream) {
        forget(number);
    }
    return stream;
}
