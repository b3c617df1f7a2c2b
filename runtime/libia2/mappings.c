#include "mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "system.h"

/* PROCMAP_QUERY of <linux/fs.h> in Linux 6.11; the headers that we are built with may be older. */
struct procmap_query {
    uint64_t size;
    uint64_t query_flags;
    uint64_t query_addr;
    uint64_t vma_start;
    uint64_t vma_end;
    uint64_t vma_flags;
    uint64_t vma_page_size;
    uint64_t vma_offset;
    uint64_t inode;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t vma_name_size;
    uint32_t build_id_size;
    uint64_t vma_name_addr;
    uint64_t build_id_addr;
};
#define IOCTL_PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define QUERY_COVERING_OR_NEXT 0x10u
#define VMA_READABLE 0x1u
#define VMA_WRITABLE 0x2u
#define VMA_EXECUTABLE 0x4u

/* ---- one question ---- */

static long ask(long file, uintptr_t from, struct ia2_mapping *found) {
    struct procmap_query query = {.size = sizeof query, .query_flags = QUERY_COVERING_OR_NEXT, .query_addr = from};
    long result = ia2_syscall3(SYS_ioctl, file, (long)IOCTL_PROCMAP_QUERY, (long)&query);
    if (result >= 0) {
        found->start = query.vma_start;
        found->end = query.vma_end;
        found->protection = (query.vma_flags & VMA_READABLE ? PROT_READ : 0) |
                            (query.vma_flags & VMA_WRITABLE ? PROT_WRITE : 0) |
                            (query.vma_flags & VMA_EXECUTABLE ? PROT_EXEC : 0);
    }
    return result;
}

/* ---- the text: lines "start-end rwxp offset device inode path", cut anywhere by the end of what is read ---- */

/* Reads more text when all is parsed. Returns false at the end, and on failure. */
static bool refill(struct ia2_mappings *mappings) {
    long result;
    if (mappings->at < mappings->length) {
        return true;
    }
    do {
        result = ia2_syscall3(SYS_read, mappings->file, (long)mappings->text, sizeof mappings->text);
    } while (result == -EINTR);
    mappings->failed = mappings->failed || result < 0;
    mappings->at = 0;
    mappings->length = result > 0 ? (size_t)result : 0;
    return result > 0;
}

/* The next byte, or NUL where there is none; the list has no NUL in it. */
static char next_byte(struct ia2_mappings *mappings) {
    return refill(mappings) ? mappings->text[mappings->at++] : '\0';
}

/* A hexadecimal number, and `end` after it. */
static bool parse_number(struct ia2_mappings *mappings, char end, uintptr_t *number) {
    *number = 0;
    for (unsigned digits = 0;; digits++) {
        char c = next_byte(mappings);
        if (c == end && digits > 0) {
            return true;
        }
        if (digits == 2 * sizeof *number) {
            return false;
        }
        if (c >= '0' && c <= '9') {
            *number = *number << 4 | (uintptr_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            *number = *number << 4 | (uintptr_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
}

/* One letter of the protection: `letter` or '-'. */
static bool parse_flag(struct ia2_mappings *mappings, char letter, int bit, int *protection) {
    char c = next_byte(mappings);
    *protection |= c == letter ? bit : 0;
    return c == letter || c == '-';
}

static bool skip_line(struct ia2_mappings *mappings) {
    while (refill(mappings)) {
        while (mappings->at < mappings->length) {
            if (mappings->text[mappings->at++] == '\n') {
                return true;
            }
        }
    }
    return false;
}

/* The next line. False at the end, and on failure. */
static bool parse_line(struct ia2_mappings *mappings, struct ia2_mapping *found) {
    found->protection = 0;
    if (!refill(mappings)) {
        return false;
    }
    if (!parse_number(mappings, '-', &found->start) || !parse_number(mappings, ' ', &found->end) ||
        found->start >= found->end || !parse_flag(mappings, 'r', PROT_READ, &found->protection) ||
        !parse_flag(mappings, 'w', PROT_WRITE, &found->protection) ||
        !parse_flag(mappings, 'x', PROT_EXEC, &found->protection) || !skip_line(mappings)) {
        mappings->failed = true;
        return false;
    }
    return true;
}

/* ---- the walk ---- */

bool ia2_mappings_open(struct ia2_mappings *mappings) {
    mappings->asks = true;
    mappings->failed = false;
    mappings->current = (struct ia2_mapping){0};
    mappings->at = mappings->length = 0;
    mappings->file = ia2_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/maps", O_RDONLY | O_CLOEXEC, 0);
    return mappings->file >= 0;
}

/* Goes on to the next mapping. Between two reads the kernel finds its place by address: what grew meanwhile may come again. */
static bool advance(struct ia2_mappings *mappings, uintptr_t from) {
    const uintptr_t last = mappings->current.end;
    struct ia2_mapping *current = &mappings->current;
    if (mappings->asks) {
        long result = ask(mappings->file, from > last ? from : last, current);
        if (result == -ENOENT) {
            return false;
        }
        mappings->asks = result >= 0; /* an old kernel, or a filter of system calls: read the text */
    }
    if (!mappings->asks) {
        do {
            if (!parse_line(mappings, current)) {
                current->end = last;
                return false;
            }
        } while (current->end <= last);
    }
    current->start = current->start > last ? current->start : last;
    return true;
}

bool ia2_mappings_next(struct ia2_mappings *mappings, uintptr_t from, struct ia2_mapping *found) {
    while (mappings->current.end <= from) {
        if (mappings->failed || !advance(mappings, from)) {
            return false;
        }
    }
    *found = mappings->current;
    return true;
}

bool ia2_mappings_close(struct ia2_mappings *mappings) {
    ia2_syscall1(SYS_close, mappings->file);
    return !mappings->failed;
}

bool ia2_mappings_walk(bool (*each)(void *argument, uintptr_t start, uintptr_t end, int protection), void *argument) {
    struct ia2_mappings mappings;
    struct ia2_mapping found = {0};
    if (!ia2_mappings_open(&mappings)) {
        return false;
    }
    mappings.asks = false; /* all of them are wanted: a page of text has some fifty */
    while (ia2_mappings_next(&mappings, found.end, &found) &&
           each(argument, found.start, found.end, found.protection)) {
    }
    return ia2_mappings_close(&mappings);
}
