/* `cookies SCENARIO`: streams whose callbacks are main's and the library's, used in the destructors of the other one. */
#include "cookies.h"

#include <errno.h>
#include <stdlib.h>

#include "say.h"

#define MANY 200

static struct {
    char content[64 * 1024];
    size_t size;
    size_t at;
    long closed;
} file;

static char secret = 's';
static char *library_byte;
static int meddling;
static FILE *many[MANY];
static FILE *of_library;

static ssize_t read_file(void *of, char *to, size_t size) {
    size_t rest = file.at < file.size ? file.size - file.at : 0;

    if (of != &file)
        _exit(92);
    size = size < rest ? size : rest;
    memcpy(to, file.content + file.at, size);
    file.at += size;
    return (ssize_t)size;
}

static ssize_t write_file(void *of, const char *from, size_t size) {
    if (of != &file || size > sizeof file.content - file.at)
        _exit(92);
    if (meddling)
        *(volatile char *)library_byte = '!';
    memcpy(file.content + file.at, from, size);
    file.at += size;
    file.size = file.at > file.size ? file.at : file.size;
    return (ssize_t)size;
}

static int seek_file(void *of, off64_t *position, int from) {
    size_t base = from == SEEK_CUR ? file.at : from == SEEK_END ? file.size : 0;

    if (of != &file)
        _exit(92);
    file.at = base + (size_t)*position;
    *position = (off64_t)file.at;
    return 0;
}

static int close_file(void *of) {
    if (of != &file)
        _exit(92);
    file.closed++;
    return 0;
}

static const cookie_io_functions_t functions = {read_file, write_file, seek_file, close_file};

/* ---- callbacks that fail, each with an error of its own ---- */

static ssize_t read_nothing(void *of, char *to, size_t size) {
    (void)of, (void)to, (void)size;
    file.at++;
    errno = ENODATA;
    return -1;
}

static ssize_t write_nothing(void *of, const char *from, size_t size) {
    (void)of, (void)from, (void)size;
    file.at++;
    errno = ENOSPC;
    return 0;
}

static int seek_nothing(void *of, off64_t *position, int from) {
    (void)of, (void)position, (void)from;
    file.at++;
    errno = ESPIPE;
    return -1;
}

static int close_nothing(void *of) {
    (void)of;
    file.at++;
    errno = EIO;
    return -1;
}

static const cookie_io_functions_t failing = {read_nothing, write_nothing, seek_nothing, close_nothing};

/* ---- many at a time ---- */

static void open_many(void) {
    for (int i = 0; i < MANY; i++)
        many[i] = fopencookie(&file, "w", functions);
    for (int i = 0; i < MANY; i += 2)
        fclose(many[i]);
    for (int i = 0; i < MANY; i += 2)
        many[i] = fopencookie(&file, "w", functions);
    for (int i = 0; i < MANY; i++)
        fprintf(many[i], "stream %d\n", i);
}

static void last(void) {
    say_number("main", "size", (long)file.size);
    say_number("main", "at", (long)file.at);
    say_number("main", "closed", file.closed);
    file.content[12] = '\0';
    say("main content", file.content);
    say("main secret", secret == 's' ? "kept" : "changed");
}

/* In main's destructor the library's callback writes into the library's data. */
static void write_to_library(void) {
    fputs("for the library", of_library);
    say_number("main", "flushed", fflush(of_library));
}

int main(int argc, char **argv) {
    static const cookie_io_functions_t none;
    FILE *stream;

    if (argc < 2)
        return 98;
    if (strcmp(argv[1], "many") == 0)
        open_many();
    of_library = cookies_stream();
    library_byte = cookies_byte();
    stream = fopencookie(&file, "w+",
                         strcmp(argv[1], "fail") == 0      ? failing
                         : strcmp(argv[1], "nothing") == 0 ? none
                                                           : functions);
    errno = 0;
    if (fopencookie(&file, "strange", functions) != NULL || errno != EINVAL || stream == NULL || of_library == NULL)
        return 97;
    if (atexit(last) != 0)
        return 96;
    cookies_at_exit(argv[1], stream, &secret);
    meddling = strcmp(argv[1], "meddle") == 0;
    if (atexit(write_to_library) != 0)
        return 96;
    return 7;
}
