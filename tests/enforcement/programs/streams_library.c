#include "streams.h"

#include <err.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char buffer[BUFSIZ];
static const char *todo;
static FILE *stream;

char *streams_buffer(void) { return buffer; }

static void print(void) { printf("library prints %d\n", 1); }

static void flush(void) {
    printf("library prints and flushes\n");
    fflush(stdout);
}

static void flush_all(void) {
    fprintf(stream, "library to a stream of main's\n");
    fflush(NULL);
}

/* More than any buffer holds, in pieces and at once. */
static void fill(void) {
    static char much[3 * BUFSIZ];

    for (int i = 0; i < 2000; i++)
        fprintf(stream, "line %d of the library\n", i);
    memset(much, 'm', sizeof much);
    fwrite(much, 1, sizeof much, stream);
    fputc('\n', stream);
}

static void read_stream(void) {
    char line[64];

    while (fgets(line, sizeof line, stream) != NULL)
        printf("library read %s", line);
    rewind(stream);
    printf("library read %c first\n", fgetc(stream));
}

static void close_stream(void) { printf("closed: %d\n", fclose(stream)); }

static void run_system(void) { printf("system: %d\n", system("echo from the shell: $STATIC; exit 3")); }

static void run_popen(void) {
    char line[64];
    FILE *child = popen("echo through a pipe: $STATIC", "r");

    if (child == NULL || fgets(line, sizeof line, child) == NULL)
        _exit(96);
    printf("popen: %s", line);
    printf("pclose: %d\n", pclose(child));
    child = popen("cat", "w");
    fprintf(child, "written to a pipe\n");
    printf("pclose: %d\n", pclose(child));
}

/* Path and arguments are this library's static data; the environment holds a string of main's. */
static char path[] = "/bin/sh";
static char shell[] = "sh";
static char script_follows[] = "-c";

static void run_spawn(void) {
    static char script[] = "echo spawned: $STATIC";
    static char *arguments[] = {path, script_follows, script, NULL};
    pid_t child;
    int status = -1;

    fflush(stdout);
    if (posix_spawn(&child, path, NULL, NULL, arguments, environ) != 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    printf("spawned: %d\n", status);
}

static void run_spawnp(void) {
    static char script[] = "echo found: $STATIC";
    static char *arguments[] = {shell, script_follows, script, NULL};
    pid_t child;
    int status = -1;

    fflush(stdout);
    if (posix_spawnp(&child, shell, NULL, NULL, arguments, environ) != 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    printf("spawned: %d\n", status);
}

static void run_fork(void) {
    int status = -1;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "echo forked: $STATIC", (char *)NULL);
        _exit(95);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    printf("forked: %d\n", status);
}

/* By hand, as old programs do: the child runs in this memory until it is another program. */
static void run_vfork(void) {
    static char script[] = "echo vforked: $STATIC";
    static char *arguments[] = {path, script_follows, script, NULL};
    int status = -1;
    pid_t child;

    fflush(stdout);
    child = vfork();
    if (child == 0) {
        execve(path, arguments, environ);
        _exit(95);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(96);
    printf("vforked: %d\n", status);
}

static void run_exec(void) {
    static char script[] = "echo replaced by: $STATIC; exit 4";
    static char *arguments[] = {shell, script_follows, script, NULL};

    fflush(stdout);
    execvp(arguments[0], arguments);
    _exit(95);
}

static void warns(void) {
    errno = EACCES;
    warn("library warns of %s", "nothing");
    perror("library");
}

static const struct {
    const char *name;
    void (*run)(void);
} actions[] = {
    {"print", print},      {"flush", flush},        {"flush-all", flush_all}, {"fill", fill},
    {"read", read_stream}, {"close", close_stream}, {"system", run_system},   {"popen", run_popen},
    {"spawn", run_spawn},  {"spawnp", run_spawnp},  {"fork", run_fork},       {"vfork", run_vfork},
    {"exec", run_exec},    {"warn", warns},
};

static void act(void) {
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(actions[i].name, todo) == 0) {
            actions[i].run();
            return;
        }
    _exit(94);
}

void streams_in_destructor(const char *action, FILE *given) {
    todo = action;
    stream = given;
    if (atexit(act) != 0)
        _exit(93);
}
