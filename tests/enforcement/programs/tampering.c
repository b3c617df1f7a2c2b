/* `tampering record main|destructor|nobody`: bends the runtime's record of a registration, from main or from a destructor: another function
 * would run. `tampering map`: changes a byte of the exit map in memory. What is to be changed is found through /proc/self/mem, which reads
 * past every protection; a record is changed by an ordinary store. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "ia2_exit.h"
#include "say.h"

int __cxa_atexit(void (*)(void *), void *, void *);
extern void *__dso_handle __attribute__((visibility("hidden")));

static void registered(void *unused) {
    (void)unused;
    say("main", "what was registered runs");
}

static void intruder(void *unused) {
    (void)unused;
    say("main", "what nobody registered runs");
}

/* ---- finding the record --------------------------------------------------------------------------------------------------------------- */

/* The argument of the registration. */
static void *cookie(void) { return (void *)0x1a2e317c0ffee500; }

/* The place in `start`–`end` of the argument, with the function near it; 0: not here. */
static uintptr_t find_in(int memory, uintptr_t start, uintptr_t end) {
    enum { BLOCK = 512, NEAR = 4 };
    uintptr_t words[BLOCK];

    for (uintptr_t at = start; at < end; at += sizeof words) {
        ssize_t got = pread(memory, words, sizeof words, (off_t)at);

        for (size_t i = NEAR; got == sizeof words && i < BLOCK; i++)
            for (size_t back = 1; words[i] == (uintptr_t)cookie() && back <= NEAR; back++)
                if (words[i - back] == (uintptr_t)registered)
                    return at + (i - back) * sizeof *words;
    }
    return 0;
}

/* Where a record of the runtime's says which function to call: in memory that can be written and is no file's. */
static uintptr_t *find_record(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    uintptr_t start, end, found = 0;
    char line[512], name[2];

    while (maps != NULL && memory >= 0 && found == 0 && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx rw%*s %*s %*s %*s %1s", &start, &end, name) == 2)
            found = find_in(memory, start, end);
    if (found == 0 || fclose(maps) != 0 || close(memory) != 0)
        _exit(96);
    return (uintptr_t *)found;
}

static uintptr_t *record;

static void bend(void) {
    *(volatile uintptr_t *)record = (uintptr_t)intruder;
    say("main", "changed");
}

static int change_record(const char *who) {
    if (__cxa_atexit(registered, cookie(), &__dso_handle) != 0)
        return 97;
    if (strcmp(who, "nobody") == 0)
        return 7;
    record = find_record();
    if (strcmp(who, "destructor") == 0)
        return atexit(bend) == 0 ? 7 : 97;
    bend();
    return 7;
}

/* ---- the map -------------------------------------------------------------------------------------------------------------------------- */

/* The map lists it. */
__attribute__((destructor)) static void last(void) { say("main", "the last destructor runs"); }

static int change_map(void) {
    const struct ia2_destructor *(*look_up)(const void *);
    const struct ia2_destructor *known;
    int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    struct rlimit size;
    char changed = '!';

    if (getrlimit(RLIMIT_FSIZE, &size) != 0)
        return 97;
    size.rlim_cur = size.rlim_max; /* the runtime has started; /proc/self/mem counts as a file */
    if (setrlimit(RLIMIT_FSIZE, &size) != 0)
        return 97;
    *(void **)&look_up = dlsym(RTLD_DEFAULT, "ia2_destructor_lookup");
    known = look_up == NULL ? NULL : look_up((const void *)last);
    if (known == NULL || known->symbol == NULL || memory < 0)
        return 96;
    return pwrite(memory, &changed, 1, (off_t)(uintptr_t)known->symbol) == 1 ? 7 : 95;
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "record") == 0)
        return change_record(argv[2]);
    return argc > 1 && strcmp(argv[1], "map") == 0 ? change_map() : 98;
}
