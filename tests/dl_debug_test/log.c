#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ia2_exit.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(0); /* shared: every destructor writes here */

static int log_descriptor = STDOUT_FILENO;
static int rights_descriptor = -1;

/* The first constructor of this library, which every other object of the test bed depends on. */
__attribute__((constructor(101))) static void choose_descriptor(void) {
    const char *text = getenv("DL_DEBUG_LOG_FD");

    if (text != NULL)
        log_descriptor = atoi(text);
    text = getenv("DL_DEBUG_RIGHTS_FD");
    if (text != NULL)
        rights_descriptor = atoi(text);
}

struct line {
    char text[256];
    size_t length;
};

/* Appends; the tail of an over-long line is lost, never its newline. */
static void put(struct line *line, const char *text) {
    size_t room = sizeof line->text - 1 - line->length;
    size_t length = strlen(text);

    if (length > room)
        length = room;
    memcpy(line->text + line->length, text, length);
    line->length += length;
}

static void put_number(struct line *line, long number) {
    char digits[24];
    char *digit = digits + sizeof digits - 1;
    unsigned long rest = number < 0 ? 0UL - (unsigned long)number : (unsigned long)number;

    *digit = '\0';
    do {
        *--digit = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0)
        *--digit = '-';
    put(line, digit);
}

static void put_pair(struct line *line, const char *name, long number) {
    put(line, " ");
    put(line, name);
    put(line, "=");
    put_number(line, number);
}

static void put_function(struct line *line, const char *kind, const char *function) {
    put(line, " kind=");
    put(line, kind);
    put(line, " function=");
    put(line, function);
}

/* A test bed that cannot write its log proves nothing: end with a status that no scenario has. */
static void finish(struct line *line) {
    line->text[line->length++] = '\n';
    if (write(log_descriptor, line->text, line->length) != (ssize_t)line->length)
        _exit(99);
}

void log_registered(const char *kind, const char *function, int result) {
    struct line line = {.length = 0};

    put(&line, "register");
    put_function(&line, kind, function);
    put_pair(&line, "result", result);
    finish(&line);
}

void log_owns(int compartment, const void *memory) { rights_owns(compartment, memory); }

void log_ran(const char *kind, const char *function, const char *what, long value) {
    struct line line = {.length = 0};

    put(&line, "run");
    put_function(&line, kind, function);
    if (what != NULL)
        put_pair(&line, what, value);
    finish(&line);
    if (rights_descriptor >= 0)
        rights_write(rights_descriptor, function);
}

void log_step(const char *what, long value) {
    struct line line = {.length = 0};

    put(&line, "step");
    put_pair(&line, what, value);
    finish(&line);
}
