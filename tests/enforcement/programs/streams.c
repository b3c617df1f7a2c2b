/* `streams STREAM ACTION`: sets a stream up, then exits; ACTION (`none` for nothing) is what a library's destructor does. */
#include "streams.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char buffer[BUFSIZ];
static char variable[] = "STATIC=a static string of main";

/* ---- a stream of main's own making: what it writes is gathered in static memory, then written out ---- */

static struct cookie {
    char gathered[64 * 1024];
    size_t size;
    long writes;
    int closed;
} cookie;

static ssize_t cookie_write(void *of, const char *text, size_t size) {
    struct cookie *self = of;

    if (size > sizeof self->gathered - self->size)
        size = sizeof self->gathered - self->size;
    memcpy(self->gathered + self->size, text, size);
    self->size += size;
    self->writes++;
    return write(STDOUT_FILENO, self->gathered + self->size - size, size);
}

static ssize_t cookie_read(void *of, char *to, size_t size) {
    struct cookie *self = of;
    size_t rest = self->size < 20 ? 20 - self->size : 0;

    if (size > rest)
        size = rest;
    memset(to, 'c', size);
    self->size += size;
    return (ssize_t)size;
}

static int cookie_seek(void *of, off64_t *position, int from) {
    struct cookie *self = of;

    (void)from;
    self->size = (size_t)*position;
    return 0;
}

static int cookie_close(void *of) {
    struct cookie *self = of;

    self->closed = 1;
    return 0;
}

static FILE *make_cookie(const char *mode) {
    cookie_io_functions_t functions = {cookie_read, cookie_write, cookie_seek, cookie_close};

    return fopencookie(&cookie, mode, functions);
}

/* ---- streams ---- */

static FILE *use(FILE *stream, char *memory, int mode) {
    if (stream == NULL || setvbuf(stream, memory, mode, BUFSIZ) != 0)
        _exit(92);
    return stream;
}

static FILE *choose(const char *name) {
    if (strcmp(name, "full") == 0)
        return use(stdout, buffer, _IOFBF);
    if (strcmp(name, "line") == 0)
        return use(stdout, buffer, _IOLBF);
    if (strcmp(name, "library-full") == 0)
        return use(stdout, streams_buffer(), _IOFBF);
    if (strcmp(name, "library-line") == 0)
        return use(stdout, streams_buffer(), _IOLBF);
    if (strcmp(name, "unbuffered") == 0)
        return use(stdout, NULL, _IONBF);
    if (strcmp(name, "file") == 0)
        return use(fopen("written", "w"), buffer, _IOFBF);
    if (strcmp(name, "input") == 0)
        return use(fopen("/etc/passwd", "r"), buffer, _IOFBF);
    if (strcmp(name, "cookie") == 0)
        return make_cookie("w");
    if (strcmp(name, "cookie-static") == 0)
        return use(make_cookie("w"), buffer, _IOFBF);
    if (strcmp(name, "cookie-input") == 0)
        return use(make_cookie("r"), buffer, _IOFBF);
    return stdout;
}

static void last(void) { printf("main prints last, %ld cookie writes, closed %d\n", cookie.writes, cookie.closed); }

int main(int argc, char **argv) {
    FILE *stream;

    if (argc < 3 || putenv(variable) != 0)
        return 98;
    stream = choose(argv[1]);
    printf("main to standard output\n");
    if (strstr(argv[1], "input") == NULL)
        fprintf(stream, "main to the stream; not the end of a");
    else
        printf("main read %c\n", fgetc(stream));
    if (atexit(last) != 0)
        return 97;
    if (strcmp(argv[2], "none") != 0)
        streams_in_destructor(argv[2], stream);
    return 7;
}
