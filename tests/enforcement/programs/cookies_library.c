#include "cookies.h"

#include <errno.h>
#include <stdlib.h>

#include "say.h"

static char secret = 'l';
static char own[64] = "own";
static char taken[4096];
static size_t size;
static const char *todo;
static FILE *stream;
static char *byte;

static ssize_t take(void *of, const char *text, size_t length) {
    if (length > sizeof taken - size)
        length = sizeof taken - size;
    memcpy((char *)of + size, text, length);
    size += length;
    return (ssize_t)length;
}

char *cookies_byte(void) { return &secret; }

FILE *cookies_stream(void) {
    const cookie_io_functions_t functions = {.write = take};

    return fopencookie(taken, "w", functions);
}

/* Each call of a callback, and what comes back of it. */
static void use(void) {
    char text[8] = "";

    say_number("library", "put", fputs("to the stream", stream));
    say_number("library", "flushed", fflush(stream));
    say_number("library", "position", ftell(stream));
    say_number("library", "sought", fseek(stream, 5, SEEK_SET));
    say_number("library", "read", (long)fread(text, 1, 6, stream));
    say("library", text);
    say_number("library", "closed", fclose(stream));
}

static void fail(void) {
    char text[4];

    errno = 0;
    say_number("library", "put", fputs("to the stream", stream));
    say_number("library", "flushed", fflush(stream));
    say_number("library", "errno", errno);
    errno = 0;
    say_number("library", "sought", fseek(stream, 1, SEEK_END));
    say_number("library", "errno", errno);
    errno = 0;
    clearerr(stream);
    say_number("library", "read", (long)fread(text, 1, 3, stream));
    say_number("library", "errno", errno);
    errno = 0;
    say_number("library", "closed", fclose(stream));
    say_number("library", "errno", errno);
}

/* A static buffer of the library's goes straight to the callback. */
static void hand_over(void) {
    static char much[3 * BUFSIZ];

    memset(much, 'm', sizeof much);
    say_number("library", "put", (long)fwrite(much, 1, sizeof much, stream));
    say_number("library", "flushed", fflush(stream));
}

/* Main's callback has come and gone: main is closed as before. */
static void intrude(void) {
    fputs("first", stream);
    fflush(stream);
    own[0] = 'O';
    *(volatile char *)byte = '!';
}

/* Libc gives the library's callback what the library may not touch. */
static void launder(void) {
    FILE *mine = cookies_stream();

    setvbuf(mine, NULL, _IONBF, 0);
    say_number("library", "put", (long)fwrite(byte, 1, 1, mine));
}

static void act(void) {
    if (strcmp(todo, "use") == 0)
        use();
    else if (strcmp(todo, "fail") == 0 || strcmp(todo, "nothing") == 0)
        fail();
    else if (strcmp(todo, "hand-over") == 0)
        hand_over();
    else if (strcmp(todo, "intrude") == 0)
        intrude();
    else if (strcmp(todo, "launder") == 0)
        launder();
    else {
        fputs("a line", stream);
        fflush(NULL);
    }
    own[1] = 'W';
    say("library", own);
}

static void last(void) {
    say_number("library", "taken", (long)size);
    say("library byte", secret == 'l' ? "kept" : "changed");
}

void cookies_at_exit(const char *scenario, FILE *given, char *its_byte) {
    todo = scenario;
    stream = given;
    byte = its_byte;
    if (atexit(last) != 0 || atexit(act) != 0)
        _exit(93);
}
