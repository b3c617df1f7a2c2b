#include "line.h"

#include "system.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for a byte that is no UTF-8 */

static void put(struct ia2_line *line, char c) {
    if (line->length < IA2_LINE_MAX) {
        line->text[line->length++] = c;
    } else {
        line->full = true;
    }
}

static void put_text(struct ia2_line *line, const char *text) {
    while (*text) {
        put(line, *text++);
    }
}

static void put_key(struct ia2_line *line, const char *key) {
    if (!line->first) {
        put(line, ',');
    }
    line->first = false;
    if (key) {
        put(line, '"');
        put_text(line, key);
        put_text(line, "\":");
    }
}

/* Length of the valid UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 if there is none. */
static size_t utf8_length(const unsigned char *at) {
    unsigned char c = at[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t length;
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) {
        length = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        length = 3;
        low = c == 0xe0 ? 0xa0 : low;
        high = c == 0xed ? 0x9f : high;
    } else if (c >= 0xf0 && c <= 0xf4) {
        length = 4;
        low = c == 0xf0 ? 0x90 : low;
        high = c == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

/* Bytes that the character at `at` takes in JSON; `*length` becomes the bytes that it takes in the string. */
static size_t escaped_length(const unsigned char *at, size_t *length) {
    size_t valid = utf8_length(at);
    *length = valid ? valid : 1;
    if (valid == 0) {
        return sizeof REPLACEMENT - 1;
    }
    if (*at < 0x20 || *at == 0x7f) {
        return sizeof "\\u0000" - 1;
    }
    return *at == '"' || *at == '\\' ? 2 : valid;
}

static void put_escaped(struct ia2_line *line, const unsigned char *at) {
    static const char digits[] = "0123456789abcdef";
    while (*at) {
        size_t length;
        size_t written = escaped_length(at, &length);
        if (utf8_length(at) == 0) {
            put_text(line, REPLACEMENT);
        } else if (written == sizeof "\\u0000" - 1) {
            put_text(line, "\\u00");
            put(line, digits[*at >> 4]);
            put(line, digits[*at & 15]);
        } else {
            if (written > length) {
                put(line, '\\');
            }
            for (size_t i = 0; i < length; i++) {
                put(line, (char)at[i]);
            }
        }
        at += length;
    }
}

/* The last part of a string that takes at most `room` bytes in JSON. */
static const unsigned char *end_that_fits(const unsigned char *value, size_t room) {
    size_t length;
    size_t total = 0;
    for (const unsigned char *at = value; *at; at += length) {
        total += escaped_length(at, &length);
    }
    while (total > room) {
        total -= escaped_length(value, &length);
        value += length;
    }
    return value;
}

void ia2_line_begin(struct ia2_line *line, const char *event) {
    line->length = 0;
    line->full = false;
    line->first = true;
    line->string_max = IA2_STRING_MAX;
    put(line, '{');
    ia2_line_string(line, "event", event);
}

void ia2_line_string(struct ia2_line *line, const char *key, const char *value) {
    if (!value) {
        ia2_line_null(line, key);
        return;
    }
    put_key(line, key);
    put(line, '"');
    const unsigned char *end = end_that_fits((const unsigned char *)value, line->string_max);
    if (end != (const unsigned char *)value) {
        put_text(line, "\xe2\x80\xa6"); /* an ellipsis */
    }
    put_escaped(line, end);
    put(line, '"');
}

static void put_digits(struct ia2_line *line, uint64_t value, unsigned base) {
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count) {
        put(line, reversed[--count]);
    }
}

void ia2_line_number(struct ia2_line *line, const char *key, uint64_t value) {
    put_key(line, key);
    put_digits(line, value, 10);
}

void ia2_line_signed(struct ia2_line *line, const char *key, int64_t value) {
    put_key(line, key);
    if (value < 0) {
        put(line, '-');
    }
    put_digits(line, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

void ia2_line_hex(struct ia2_line *line, const char *key, uint64_t value) {
    put_key(line, key);
    put_text(line, "\"0x");
    put_digits(line, value, 16);
    put(line, '"');
}

void ia2_line_bool(struct ia2_line *line, const char *key, bool value) {
    put_key(line, key);
    put_text(line, value ? "true" : "false");
}

void ia2_line_null(struct ia2_line *line, const char *key) {
    put_key(line, key);
    put_text(line, "null");
}

void ia2_line_open(struct ia2_line *line, const char *key) {
    put_key(line, key);
    put(line, '{');
    line->first = true;
}

void ia2_line_close(struct ia2_line *line) {
    put(line, '}');
    line->first = false;
}

void ia2_line_list(struct ia2_line *line, const char *key) {
    put_key(line, key);
    put(line, '[');
    line->first = true;
}

void ia2_line_end_list(struct ia2_line *line) {
    put(line, ']');
    line->first = false;
}

size_t ia2_line_room(const struct ia2_line *line) { return IA2_LINE_MAX - line->length; }

bool ia2_line_end(struct ia2_line *line) {
    put_text(line, "}\n");
    return !line->full;
}
