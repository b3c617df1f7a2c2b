#include "rights.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* A line that is put together on the stack. */
struct text {
    size_t used;
    char bytes[300];
};

static void add(struct text *text, const char *string) {
    while (*string && text->used < sizeof text->bytes) {
        text->bytes[text->used++] = *string++;
    }
}

static void add_number(struct text *text, uint64_t value, unsigned base) {
    char digits[24];
    char *at = digits + sizeof digits;
    *--at = '\0';
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    add(text, base == 16 ? " 0x" : " ");
    add(text, at);
}

static void send(int to, const struct text *text) {
    if (write(to, text->bytes, text->used) != (ssize_t)text->used) {
        _exit(71);
    }
}

void rights_say(const char *line) {
    struct text text = {0};
    add(&text, line);
    add(&text, "\n");
    send(1, &text);
}

void rights_failed(const char *file, int line, const char *condition) {
    struct text text = {0};
    add(&text, file);
    add_number(&text, (uint64_t)line, 10);
    add(&text, ": not so: ");
    add(&text, condition);
    add(&text, "; PKRU");
    add_number(&text, rights_now(), 16);
    add(&text, "\n");
    send(2, &text);
    _exit(70);
}

uint32_t rights_now(void) {
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

bool rights_open(uint32_t pkru, int key) { return (pkru >> (2 * key) & 3u) == 0; }

bool rights_only(uint32_t pkru, int key) {
    const uint32_t no_access = 0x55555555;
    uint32_t open = 3u | 3u << (2 * key);
    return (pkru & open) == 0 && (pkru & no_access) == (no_access & ~open);
}

/* One line of a file without its end; false at the end of the file. Longer lines are cut. */
struct lines {
    int file;
    ssize_t filled;
    ssize_t at;
    char bytes[4096];
};

static bool next_line(struct lines *lines, char *line, size_t room) {
    size_t length = 0;
    for (;;) {
        if (lines->at == lines->filled) {
            lines->at = 0;
            lines->filled = read(lines->file, lines->bytes, sizeof lines->bytes);
            if (lines->filled <= 0) {
                return false;
            }
        }
        char byte = lines->bytes[lines->at++];
        if (byte == '\n') {
            line[length] = '\0';
            return true;
        }
        if (length + 1 < room) {
            line[length++] = byte;
        }
    }
}

static uintptr_t hexadecimal(const char **at) {
    uintptr_t value = 0;
    for (;; (*at)++) {
        const char *digits = "0123456789abcdef";
        const char *digit = **at ? strchr(digits, **at) : NULL;
        if (!digit) {
            return value;
        }
        value = value * 16 + (uintptr_t)(digit - digits);
    }
}

/* Reads smaps once: the key of the page at `address` (-1: not mapped), and all keys there are. */
static int read_keys(uintptr_t address, uint32_t *in_use) {
    struct lines lines = {.file = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC)};
    CHECK(lines.file >= 0);
    int found = -1;
    bool inside = false;
    char line[100];
    *in_use = 0;
    while (next_line(&lines, line, sizeof line)) {
        const char *at = line;
        uintptr_t start = hexadecimal(&at);
        if (*at == '-') {
            at++;
            inside = start <= address && address < hexadecimal(&at);
        } else if (strncmp(line, "ProtectionKey:", 14) == 0) {
            int key = 0;
            for (at = line + 14; *at; at++) {
                key = *at == ' ' ? key : key * 10 + (*at - '0');
            }
            *in_use |= 1u << key;
            found = inside ? key : found;
        }
    }
    close(lines.file);
    return found;
}

int rights_key_of(const void *address) {
    uint32_t in_use;
    int key = read_keys((uintptr_t)address, &in_use);
    CHECK(key >= 0);
    return key;
}

uint32_t rights_keys_in_use(void) {
    uint32_t in_use;
    read_keys(0, &in_use);
    return in_use;
}

static int tell(const char *name, uintptr_t function, const void *own) {
    uint32_t pkru = rights_now();
    int key = rights_key_of(own);
    struct text text = {0};
    add(&text, name);
    add_number(&text, pkru, 16);
    add_number(&text, (uint64_t)key, 10);
    add_number(&text, (uint64_t)rights_key_of(&text), 10);
    add_number(&text, function, 16);
    add(&text, "\n");
    send(1, &text);
    return key;
}

void rights_tell(const char *name, uintptr_t function, const void *own) { tell(name, function, own); }

void rights_check_own(const char *name, uintptr_t function, volatile int *own) {
    int key = tell(name, function, (const void *)own);
    uint32_t pkru = rights_now();
    for (int other = 1; key == 0 && other < 16; other++) {
        key = rights_open(pkru, other) ? other : 0;
    }
    CHECK(rights_only(pkru, key));
    *own += 1;
}
