/* A line on standard output in one write(2), composed on the stack: whatever is closed, the program can still say what it does. */
#ifndef ENFORCEMENT_SAY_H
#define ENFORCEMENT_SAY_H

#include <string.h>
#include <unistd.h>

__attribute__((unused)) static void say(const char *who, const char *what) {
    char line[256];
    size_t first = strlen(who);
    size_t second = strlen(what);

    if (first + second + 3 > sizeof line)
        _exit(99);
    memcpy(line, who, first);
    memcpy(line + first, ": ", 2);
    memcpy(line + first + 2, what, second);
    line[first + 2 + second] = '\n';
    if (write(STDOUT_FILENO, line, first + second + 3) < 0)
        _exit(99);
}

__attribute__((unused)) static void say_number(const char *who, const char *what, long number) {
    char text[128];
    char digits[24];
    size_t at = sizeof digits;
    size_t length = strlen(what);
    unsigned long rest = number < 0 ? 0UL - (unsigned long)number : (unsigned long)number;

    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0)
        digits[--at] = '-';
    if (length + 1 + sizeof digits - at + 1 > sizeof text)
        _exit(99);
    memcpy(text, what, length);
    text[length] = '=';
    memcpy(text + length + 1, digits + at, sizeof digits - at);
    text[length + 1 + sizeof digits - at] = '\0';
    say(who, text);
}

#endif
