#include "allowed.h"

#include <stdio.h>
#include <unistd.h>

#include "copied.h"
#include "dynamic.h"
#include "loader_tables.h"
#include "objects.h"
#include "peek.h"

/* Vectorised string functions of libc read from the vector on in which a string begins (they align the address down) and up to the four
 * vectors of an unrolled loop behind its end, but no page that has nothing of it (sysdeps/x86_64/multiarch/strlen-evex-base.S). */
#define VECTOR 64u

#define MAX_ENVIRONMENT 65536u /* entries that are looked at */
#define MAX_STRING 131072u     /* MAX_ARG_STRLEN of the kernel */
#define MAX_REMEMBERED 32u
#define MAX_STREAMS 65536u

static const uintptr_t page = 4096;

struct touch {
    uintptr_t address;
    size_t size; /* bytes from there on */
    bool write;
    bool vectors; /* an instruction, which may read a little more of a string than is meant */
};

static bool inside(const struct touch *touch, uintptr_t start, uintptr_t end) {
    return touch->address >= start && touch->address < end && touch->size <= end - touch->address;
}

static bool is_shared(uint32_t slot) { return slot != IA2_NO_OBJECT && ia2_object(slot)->compartment == 0; }

/* ---- the environment ---- */

/* Where the string at `start` ends, NUL included, as far as `limit`; 0 where it cannot be read. */
static uintptr_t end_of_string(uintptr_t start, uintptr_t limit) {
    char text[256];
    for (uintptr_t at = start; at < limit;) {
        size_t count = sizeof text - at % sizeof text; /* not across a page that may not be there */
        if (!ia2_peek(text, at, count)) {
            return 0;
        }
        for (size_t i = 0; i < count; i++) {
            if (text[i] == '\0') {
                return at + i + 1;
            }
        }
        at += count;
    }
    return limit;
}

static bool in_string(const struct touch *touch, uintptr_t start) {
    const uintptr_t first = touch->vectors ? start & ~(uintptr_t)(VECTOR - 1) : start;
    if (touch->address < first || touch->address - first > MAX_STRING) {
        return false;
    }
    uintptr_t end = end_of_string(start, touch->address + touch->size + 1);
    if (end != 0 && touch->vectors) {
        const uintptr_t last_page = (end + page - 1) & ~(page - 1);
        end = last_page - end < 4 * VECTOR ? last_page : end + 4 * VECTOR;
    }
    return inside(touch, first, end);
}

static bool in_environment(const struct touch *touch) {
    enum { BLOCK = 64 };
    uintptr_t strings[BLOCK];
    uintptr_t array;
    if (touch->write || !ia2_peek(&array, (uintptr_t)&environ, sizeof array) || array == 0) {
        return false;
    }
    for (uint32_t done = 0; done < MAX_ENVIRONMENT;) {
        const uintptr_t at = array + done * sizeof *strings;
        const size_t left = BLOCK - (at / sizeof *strings) % BLOCK; /* not across a page that may not be there */
        if (at % sizeof *strings != 0 || !ia2_peek(strings, at, left * sizeof *strings)) {
            return false;
        }
        for (size_t i = 0; i < left; i++, done++) {
            if (strings[i] == 0) {
                return inside(touch, array, array + (done + 1) * sizeof *strings);
            }
            if (in_string(touch, strings[i])) {
                return true;
            }
        }
    }
    return false;
}

/* ---- buffers of streams ---- */

extern FILE *_IO_list_all; /* glibc exports it: all streams, chained */

static struct {
    uintptr_t start, end;
} remembered[MAX_REMEMBERED];
static uint32_t remembered_count;

/* Calls `each` with the bounds of every stream's buffer, until it says true. */
static bool any_stream(bool (*each)(const void *argument, uintptr_t start, uintptr_t end), const void *argument) {
    FILE stream;
    uintptr_t at;
    if (!ia2_peek(&at, (uintptr_t)&_IO_list_all, sizeof at)) {
        return false;
    }
    for (uint32_t i = 0; at != 0 && i < MAX_STREAMS; i++) {
        if (!ia2_peek(&stream, at, sizeof stream)) {
            return false;
        }
        if (stream._IO_buf_base && each(argument, (uintptr_t)stream._IO_buf_base, (uintptr_t)stream._IO_buf_end)) {
            return true;
        }
        at = (uintptr_t)stream._chain;
    }
    return false;
}

static bool is_inside(const void *argument, uintptr_t start, uintptr_t end) { return inside(argument, start, end); }

static bool remember(const void *argument, uintptr_t start, uintptr_t end) {
    (void)argument;
    if (ia2_object_at(start) && remembered_count < MAX_REMEMBERED) {
        remembered[remembered_count].start = start;
        remembered[remembered_count++].end = end;
    }
    return false;
}

void ia2_allowed_remember(void) {
    remembered_count = 0;
    any_stream(remember, NULL);
}

static bool in_stream(const struct touch *touch) {
    for (uint32_t i = 0; i < remembered_count; i++) {
        if (inside(touch, remembered[i].start, remembered[i].end)) {
            return true;
        }
    }
    return any_stream(is_inside, touch);
}

/* ---- the questions ---- */

static enum ia2_allowed by_shared_code(const struct touch *touch) {
    if (in_stream(touch)) {
        return IA2_ALLOWED_STDIO;
    }
    return in_environment(touch) ? IA2_ALLOWED_ENVIRONMENT : IA2_NOT_ALLOWED;
}

enum ia2_allowed ia2_touch_allowed(uint32_t victim, uintptr_t address, bool write, uintptr_t instruction) {
    const uint32_t toucher = ia2_object_at(instruction);
    const struct touch touch = {.address = address, .size = 1, .write = write, .vectors = true};
    struct ia2_copied copied;
    if (victim == IA2_NO_OBJECT || toucher == IA2_NO_OBJECT) {
        return IA2_NOT_ALLOWED;
    }
    if (ia2_copied_at(victim, address, 1, &copied) && ia2_copied_used_by(&copied, toucher)) {
        return IA2_ALLOWED_COPIED;
    }
    if (ia2_loader_may_touch(victim, address, write, toucher)) {
        return IA2_ALLOWED_LOADER;
    }
    return is_shared(toucher) ? by_shared_code(&touch) : IA2_NOT_ALLOWED;
}

static bool used_by(const struct ia2_copied *copied, const struct ia2_callers *callers) {
    for (size_t i = 0; i < callers->count; i++) {
        const uint32_t slot = ia2_object_at(callers->frames[i]);
        if (slot != IA2_NO_OBJECT && ia2_copied_used_by(copied, slot)) {
            return true;
        }
    }
    return false;
}

enum ia2_allowed ia2_buffer_allowed(uint32_t victim, uintptr_t address, size_t size, bool write,
                                    const struct ia2_callers *callers) {
    const struct touch touch = {.address = address, .size = size, .write = write, .vectors = false};
    struct ia2_copied copied;
    if (victim == IA2_NO_OBJECT || size == 0) {
        return IA2_NOT_ALLOWED;
    }
    if (ia2_copied_at(victim, address, size, &copied) && (!callers || used_by(&copied, callers))) {
        return IA2_ALLOWED_COPIED;
    }
    return by_shared_code(&touch);
}
