/* A program with all that others may touch in its own data; it says which touches the runtime allows, and why. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "touched.h"

enum { READ, WRITE };

static char secret[64] = "secret";
static struct { /* few other things are near */
    char before[1000], setting[3096];
} page __attribute__((aligned(4096))) = {.setting = "IA2_TEST=value"};
static char *const setting = page.setting;
static char *own_environment[3] = {page.setting, NULL};
static char buffer[4096] __attribute__((aligned(4096)));

static const void *libc, *ld, *owner, *user, *alias, *stranger, *program;

static void copied_symbols(void) {
    probe_touch("stdout by libc", &stdout, WRITE, libc);
    probe_touch("last byte of stdout by libc", (const char *)(&stdout + 1) - 1, READ, libc);
    probe_touch("stdout by the program", &stdout, READ, program);
    probe_touch("stdout by a stranger", &stdout, READ, stranger);
    probe_touch("stdout by no object", &stdout, READ, secret + 1000000000);
    probe_touch("environ by libc", &environ, READ, libc);
    probe_touch("lent by its owner", lent, WRITE, owner);
    probe_touch("end of lent by its owner", lent + sizeof lent - 1, WRITE, owner);
    probe_touch("behind lent by its owner", lent + sizeof lent, WRITE, owner);
    probe_touch("before lent by its owner", lent - 1, WRITE, owner);
    probe_touch("lent by a user", lent, WRITE, user);
    probe_touch("lent by a user of its other name", lent, WRITE, alias);
    probe_touch("lent by libc", lent, READ, libc);
    probe_touch("lent by a stranger", lent, READ, stranger);
    probe_touch("secret by libc", secret, READ, libc);
    probe_touch("secret by the owner of lent", secret, READ, owner);
    probe_buffer("call on lent", lent, sizeof lent, WRITE);
    probe_buffer("call on the end of lent", lent + 8, sizeof lent - 8, READ);
    probe_buffer("call beyond lent", lent, sizeof lent + 1, READ);
    probe_buffer("call beyond memory", lent, (size_t)-1, READ);
    probe_buffer("call on nothing", lent, 0, READ);
    probe_buffer("call on the secret", secret, 1, READ);
}

static void loader_tables(void) {
    const struct tables own = tables_of(owner);
    const char *last = own.dynamic_end - 1;
    probe_touch("dynamic section by ld.so", own.dynamic, WRITE, ld);
    probe_touch("its last byte by ld.so", last, READ, ld);
    probe_touch("dynamic section by libc", own.dynamic, READ, libc);
    probe_touch("dynamic section, written by libc", own.dynamic, WRITE, libc);
    probe_touch("dynamic section by a stranger", own.dynamic, READ, stranger);
    probe_touch("PLT slot by ld.so", own.plt_slot, WRITE, ld);
    probe_touch("PLT slot by its object", own.plt_slot, READ, owner);
    probe_touch("PLT slot, written by its object", own.plt_slot, WRITE, owner);
    probe_touch("PLT slot by libc", own.plt_slot, READ, libc);
    probe_touch("PLT slot by a stranger", own.plt_slot, READ, stranger);
    probe_touch("words of ld.so by ld.so", own.plt_got, READ, ld);
    probe_touch("words of ld.so by its object", own.plt_got + 16, READ, owner);
    probe_touch("GOT slot by ld.so", own.got_slot, WRITE, ld);
    probe_touch("GOT slot by its object", own.got_slot, READ, owner);
    probe_touch("GOT slot by a stranger", own.got_slot, READ, stranger);
    probe_touch("thread-local's initial value by ld.so", own.thread_initial, READ, ld);
    probe_touch("thread-local's initial value, written by ld.so", own.thread_initial, WRITE, ld);
    probe_touch("thread-local's initial value by a stranger", own.thread_initial, READ, stranger);
    int *variable = dlsym(RTLD_DEFAULT, "of_library");
    probe_touch("variable by ld.so", variable, READ, ld);
    probe_touch("variable by its own code", variable, READ, owner);
    probe_buffer("call on the dynamic section", own.dynamic, 8, READ);
}

static void environment(void) {
    probe_touch("setting before putenv", setting, READ, libc);
    putenv(setting);
    probe_touch("setting by libc", setting, READ, libc);
    probe_touch("end of setting by libc", setting + strlen(setting), READ, libc);
    probe_touch("vector behind setting by libc", setting + strlen(setting) + 100, READ, libc);
    probe_touch("far behind setting by libc", setting + 300, READ, libc);
    probe_touch("vector of setting by libc", page.before + 960, READ, libc);
    probe_touch("before that by libc", page.before + 959, READ, libc);
    probe_touch("setting, written by libc", setting, WRITE, libc);
    probe_touch("setting by the program", setting, READ, program);
    probe_touch("setting by a stranger", setting, READ, stranger);
    probe_touch("secret with an environment", secret, READ, libc);
    probe_buffer("call on setting", setting, strlen(setting) + 1, READ);
    probe_buffer("call on a part of setting", setting + 3, 4, READ);
    probe_buffer("call beyond setting", setting, strlen(setting) + 2, READ);
    probe_buffer("call that writes setting", setting, 4, WRITE);
    char **before = environ;
    environ = own_environment;
    probe_touch("own array by libc", &own_environment[0], READ, libc);
    probe_touch("its end by libc", (const char *)&own_environment[2] - 1, READ, libc);
    probe_touch("own array by a stranger", &own_environment[0], READ, stranger);
    probe_touch("setting through it", setting, READ, libc);
    environ = (char **)8; /* nothing is there */
    probe_touch("setting, environ bad", setting, READ, libc);
    environ = NULL;
    probe_touch("setting, environ NULL", setting, READ, libc);
    own_environment[0] = (char *)8;
    own_environment[1] = setting;
    environ = own_environment;
    probe_touch("setting behind a bad entry", setting, READ, libc);
    environ = before;
}

static void streams(void) {
    probe_touch("buffer before setvbuf", buffer, WRITE, libc);
    if (setvbuf(stdout, buffer, _IOFBF, 2048) != 0) {
        abort();
    }
    probe_touch("buffer by libc", buffer, WRITE, libc);
    probe_touch("its last byte by libc", buffer + 2047, WRITE, libc);
    probe_touch("behind it, written by libc", buffer + 2048, WRITE, libc);
    probe_touch("behind it by libc", buffer + 2048, READ, libc);
    probe_touch("buffer by the program", buffer, READ, program);
    probe_touch("buffer by a stranger", buffer, READ, stranger);
    probe_buffer("call on the buffer", buffer, 2048, READ);
    probe_buffer("call that fills the buffer", buffer + 1024, 1024, WRITE);
    probe_buffer("call beyond the buffer", buffer + 1024, 1025, READ);
    setvbuf(stdout, NULL, _IONBF, 0);
}

static const struct {
    const char *name;
    void (*ask)(void);
} subjects[] = {
    {"copied", copied_symbols},
    {"loader", loader_tables},
    {"environment", environment},
    {"stdio", streams},
};

int main(int argc, char **argv) {
    probe_start();
    libc = probe_code("fflush");
    ld = probe_code("_dl_mcount");
    owner = owner_code();
    user = user_code();
    alias = alias_code();
    stranger = stranger_code();
    program = (const void *)&main;
    if (optarg || secret[1] != 'e') { /* copied, and read */
        return 1;
    }
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        if (argc > 1 && strcmp(argv[1], subjects[i].name) == 0) {
            subjects[i].ask();
        }
    }
    return 0;
}
