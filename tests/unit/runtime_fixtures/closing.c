/* `closing SCENARIO`: looks around before its exit, in a library's destructor, and when stdio is flushed, after everything. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "snapshot.h"

void closing_register(void);
void closing_register_change(void);

static char pages[6][4096] __attribute__((aligned(4096))) = {{1}};
static char on_the_side[1 << 16];

static void handle(int signal) { (void)signal; }
static void handle_info(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    (void)context;
}

static void install(void) {
    struct sigaction plain = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct sigaction full = {.sa_sigaction = handle_info, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
    const stack_t stack = {.ss_sp = on_the_side, .ss_size = sizeof on_the_side};
    sigset_t blocked;
    sigfillset(&full.sa_mask);
    sigaddset(&plain.sa_mask, SIGWINCH);
    sigaltstack(&stack, NULL);
    for (int number = 1; number <= 64; number++)
        if (number % 3)
            sigaction(number, number % 3 == 1 ? &plain : &full, NULL);
    signal(SIGCHLD, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTTOU);
    sigaddset(&blocked, SIGBUS);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Reading, nothing, all three, and nothing that is there at all. */
static void protect(void) {
    if (mprotect(pages[1], 4096, PROT_READ) != 0 || mprotect(pages[2], 4096, PROT_NONE) != 0 ||
        mprotect(pages[3], 4096, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 || munmap(pages[4], 4096) != 0)
        _exit(96);
}

static ssize_t tell_at_last(void *unused, const char *text, size_t size) {
    (void)unused;
    (void)text;
    tell("after");
    return (ssize_t)size;
}

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    FILE *last = fopencookie(NULL, "w", (cookie_io_functions_t){.write = tell_at_last});
    if (!strcmp(scenario, "unload")) {
        void *plugin = dlopen(argv[2], RTLD_NOW);
        install();
        protect();
        ((void (*)(void))dlsym(plugin, "closing_register"))();
        tell("before");
        dlclose(plugin);
        tell("after");
        _exit(3);
    }
    install();
    protect();
    if (!strcmp(scenario, "change"))
        closing_register_change();
    closing_register();
    setvbuf(last, NULL, _IOFBF, 4096);
    fputs("x", last);
    tell("before");
    exit(3);
}
