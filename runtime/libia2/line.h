/* One event line, built on the stack and written by one write(): no malloc, no stdio, callable in signal handlers. */
#ifndef IA2_LINE_H
#define IA2_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA2_LINE_MAX 4096u  /* PIPE_BUF: a write of this size to a pipe is not torn */
#define IA2_STRING_MAX 760u /* bytes of one string that are kept, as written; of a longer one (a path) the end */

struct ia2_line {
    size_t length;
    bool full;         /* something did not fit: the line must not be written */
    bool first;        /* no comma before the next member */
    size_t string_max; /* IA2_STRING_MAX; less for lines with so many strings that not all of that would fit */
    uint64_t started;  /* when its making began, nanoseconds of CLOCK_MONOTONIC; the caller's to set */
    char text[IA2_LINE_MAX];
};

/* Starts `{"event":"NAME"`. Members follow in the order of the calls; a NULL key adds an array element. */
void ia2_line_begin(struct ia2_line *line, const char *event);
void ia2_line_string(struct ia2_line *line, const char *key, const char *value); /* NULL: null */
void ia2_line_number(struct ia2_line *line, const char *key, uint64_t value);
void ia2_line_signed(struct ia2_line *line, const char *key, int64_t value);
void ia2_line_hex(struct ia2_line *line, const char *key, uint64_t value);
void ia2_line_bool(struct ia2_line *line, const char *key, bool value);
void ia2_line_null(struct ia2_line *line, const char *key);
void ia2_line_open(struct ia2_line *line, const char *key); /* a nested object */
void ia2_line_close(struct ia2_line *line);
void ia2_line_list(struct ia2_line *line, const char *key); /* an array */
void ia2_line_end_list(struct ia2_line *line);
/* How many bytes more there may be before the line is full. */
size_t ia2_line_room(const struct ia2_line *line);
/* Adds the last brace and the newline. Returns false when the line is too long to be written whole. */
bool ia2_line_end(struct ia2_line *line);

#endif
