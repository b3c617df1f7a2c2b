#include "rights.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMPARTMENTS = 16 };

static const void *memory_of[COMPARTMENTS];

void rights_owns(int compartment, const void *memory) { memory_of[compartment] = memory; }

/* ---- the register ---- */

/* CPUID leaf 7: ECX bit 4, OSPKE, says that RDPKRU may be used (Intel SDM volume 2, "CPUID"). */
static bool has_keys(void) {
    unsigned a = 7, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (c >> 4 & 1) != 0;
}

static unsigned read_pkru(void) {
    unsigned value = 0;
    unsigned zero = 0;

    if (has_keys())
        __asm__ volatile("rdpkru" : "=a"(value), "=d"(zero) : "c"(0));
    return value;
}

/* ---- the pages ---- */

/* Each mapping's protection and, where there are keys, its key; read as a whole, so that it is of one moment. By the thread:
 * /proc/self is the main thread's, and empty when that has ended. */
static const char *read_mappings(void) {
    static char text[1024 * 1024];
    size_t length = 0;
    ssize_t got;
    int file = open(has_keys() ? "/proc/thread-self/smaps" : "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);

    while ((got = read(file, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    if (file < 0 || got < 0 || close(file) != 0)
        _exit(97);
    text[length] = '\0';
    return text;
}

/* A mapping's first line: `START-END rwxp …`, in lower-case hexadecimal; the lines about it begin with a capital. */
static bool is_mapping(const char *line) { return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f'); }

static const char *next_line(const char *line) {
    const char *end = strchr(line, '\n');

    return end == NULL ? line + strlen(line) : end + 1;
}

static unsigned key_of(const char *mapping) {
    for (const char *line = next_line(mapping); *line != '\0' && !is_mapping(line); line = next_line(line))
        if (strncmp(line, "ProtectionKey:", 14) == 0)
            return (unsigned)strtoul(line + 14, NULL, 10);
    return 0;
}

/* Whether a store to `memory` would succeed: by the page's protection, and by the register. */
static bool is_open(const char *mappings, const void *memory, unsigned pkru) {
    for (const char *line = mappings; *line != '\0'; line = next_line(line)) {
        char *rest;
        uintptr_t start;
        uintptr_t end;

        if (!is_mapping(line))
            continue;
        start = strtoul(line, &rest, 16);
        end = strtoul(rest + 1, &rest, 16);
        if ((uintptr_t)memory >= start && (uintptr_t)memory < end)
            return rest[2] == 'w' && (pkru >> (2 * key_of(line)) & 3) == 0;
    }
    return false;
}

void rights_write(int descriptor, const char *function) {
    char line[512];
    unsigned pkru = read_pkru();
    const char *mappings = read_mappings();
    int length = snprintf(line, sizeof line, "%s pkru=%#x open=", function, pkru);

    for (int i = 1; i < COMPARTMENTS; i++)
        if (memory_of[i] != NULL && is_open(mappings, memory_of[i], pkru))
            length += snprintf(line + length, sizeof line - (size_t)length, "%d,", i);
    line[length++] = '\n';
    if (write(descriptor, line, (size_t)length) != length)
        _exit(97);
}
