/* liblegitimate.so: destructors that touch nothing but what they may. */
#include "legitimate.h"

#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "say.h"

extern char **environ;
extern char *optarg;
extern int optind;

static struct lent lent;
static int own_numbers[1024] = {3};
static char own_text[64];
static __thread int own_thread_local = 5;

static void own_data(void) {
    own_numbers[1000] = own_numbers[0] + 4;
    memcpy(own_text, "own text", sizeof "own text");
    own_thread_local++;
    say_number("own data", own_text, own_numbers[1000] + own_thread_local);
}

static void shared_data(void) {
    strcat(lent.shared_data, " and changed");
    say("shared data", lent.shared_data);
}

static void stack(void) {
    char text[4096];
    volatile char deep[512 * 1024]; /* pages that nobody has touched yet */

    deep[0] = 's';
    memset(text, deep[0], sizeof text - 1);
    text[20] = '\0';
    say("stack", text);
}

static void heap(void) {
    char *own = malloc(100000); /* more than malloc has at hand: the heap grows, or gets a mapping */
    char *grown = realloc(own, 300000);

    memset(grown, 'h', 300000);
    grown[10] = '\0';
    say("heap", grown);
    free(grown);
    strcat(lent.heap, " changed");
    say("heap of main", lent.heap);
    free(lent.heap);
}

static void thread_local_of_main(void) {
    lent.thread_local_data[0] = 'T';
    say("thread-local of main", lent.thread_local_data);
}

static void prints(void) {
    printf("printed by a library, buffered: %d %s %.3f\n", 42, "text", 1.5);
    fprintf(stderr, "printed by a library, unbuffered\n");
    fflush(stdout);
    puts("flushed by the C library");
}

static void getopt_variables(void) {
    say("optarg", optarg == NULL ? "(none)" : optarg);
    say_number("optarg", "optind", optind);
}

static void environment(void) {
    long found = 0;

    while (environ[found] != NULL)
        found++;
    say_number("environ", "is there", environ[0] != NULL && found < 100);
}

/* The string is main's: putenv keeps the very bytes. */
static void getenv_of_static(void) {
    const char *found = getenv("AFTER_STATIC");

    say("getenv", found == NULL ? "(none)" : found);
    say("getenv", getenv("NEVER_SET") == NULL ? "not set" : "set");
}

static void setenv_anew(void) {
    say_number("setenv", "result", setenv("NEW", "value", 1));
    say("setenv", getenv("NEW"));
}

static void constants(void) {
    say("constant", lent.constant);
    say("relro", lent.relro[0]);
    say("relro", lent.relro[1]);
    say("argv", lent.program == NULL ? "(none)" : "there");
}

static void calls_other(void) {
    say_number("other", "sum", other_sum(10));
    say_number("other", "asked", other_asks_libc("123"));
}

static void sorts_elsewhere(void) {
    int items[] = {5, 3, 9, 1};

    other_sorts(items, 4);
    say_number("sorted", "first", items[0]);
    say_number("sorted", "last", items[3]);
}

static int comparisons;

static int compare(const void *left, const void *right) {
    comparisons++;
    return *(const int *)left - *(const int *)right;
}

static void sorts_own(void) {
    for (int i = 0; i < 1000; i++)
        own_numbers[i] = (i * 7919) % 1000;
    qsort(own_numbers, 1000, sizeof *own_numbers, compare);
    say_number("qsort", "first", own_numbers[0]);
    say("qsort", comparisons > 0 && own_numbers[999] == 999 ? "sorted" : "not sorted");
}

/* Bound at the first call, which is here: the dynamic linker writes this object's own GOT. */
static void binds_late(void) {
    char copy[32];

    say("strtok", strtok(strcpy(copy, "first second"), " "));
    say_number("strtoul", "value", (long)strtoul("77", NULL, 0));
}

static void looks_up(void) {
    int (*sum)(int);

    *(void **)&sum = dlsym(RTLD_DEFAULT, "other_sum");
    say_number("dlsym", "sum", sum == NULL ? -1 : sum(4));
    say("dlsym", dlsym(RTLD_DEFAULT, "no_such_symbol") == NULL ? "not there" : "there");
    say("dlerror", dlerror() == NULL ? "silent" : "says why");
}

static void uses_libc(void) {
    time_t then = 86400;
    struct tm parts;
    FILE *file = tmpfile();

    say_number("gmtime", "day", gmtime_r(&then, &parts)->tm_mday);
    say("setlocale", setlocale(LC_ALL, ""));
    fprintf(file, "%s", "through a file");
    rewind(file);
    say("file", fgets(own_text, sizeof own_text, file));
    fclose(file);
    errno = ENOENT;
    say("strerror", strerror(errno));
}

/* Of main's three pages without pages of their own, the byte at 4096 lies on one that holds nothing else. */
static void shared_without_pages(void) {
    strcat(lent.shared_data + 4096, " and changed");
    say("shared data", lent.shared_data + 4096);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"own-data", own_data},
    {"shared-data", shared_data},
    {"stack", stack},
    {"heap", heap},
    {"thread-local", thread_local_of_main},
    {"prints", prints},
    {"getopt", getopt_variables},
    {"environ", environment},
    {"getenv", getenv_of_static},
    {"setenv", setenv_anew},
    {"constants", constants},
    {"calls-other", calls_other},
    {"sorts-elsewhere", sorts_elsewhere},
    {"sorts-own", sorts_own},
    {"binds-late", binds_late},
    {"looks-up", looks_up},
    {"uses-libc", uses_libc},
    {"shared-without-pages", shared_without_pages},
};

int legitimate_register(const char *scenario, const struct lent *given) {
    lent = *given;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, scenario) == 0)
            return atexit(scenarios[i].run) == 0 ? 0 : -1;
    return -1;
}
