/* `signals SCENARIO HANDLER`: signals come while a library's destructor runs; main handles them, and touches main's data. */
#include "signals.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "say.h"

static volatile sig_atomic_t handled;
static char note[64];
static stack_t context_stack;
static char alternate[64 * 1024] __attribute__((aligned(16)));
static char secret[64] = " ";

static void handler(int signal, siginfo_t *info, void *context) {
    char on_stack;
    int on_alternate = &on_stack >= alternate && &on_stack < alternate + sizeof alternate;

    (void)info;
    handled++;
    context_stack = ((ucontext_t *)context)->uc_stack;
    memcpy(note, on_alternate ? "handled on the alternate stack" : "handled on the ordinary stack",
           sizeof "handled on the alternate stack");
    if (signal == SIGUSR2) {
        raise(SIGUSR1); /* one within the other: this frame must stay what it is */
        note[0] = 'H';
    }
}

static void install(const char *how) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};

    sigemptyset(&action.sa_mask);
    if (strcmp(how, "masked") == 0)
        sigfillset(&action.sa_mask);
    if (strcmp(how, "restarting") == 0)
        action.sa_flags |= SA_RESTART | SA_NODEFER;
    if (strcmp(how, "alternate") == 0) {
        action.sa_flags |= SA_ONSTACK;
        if (sigaltstack(&stack, NULL) != 0)
            _exit(96);
    }
    if (sigaction(SIGUSR1, &action, NULL) != 0 || sigaction(SIGUSR2, &action, NULL) != 0 ||
        sigaction(SIGALRM, &action, NULL) != 0)
        _exit(96);
}

static void main_after(void) {
    say("main", note[0] == '\0' ? "nothing handled" : note);
    say("main", handled > 0 ? "some" : "none");
    say("main", context_stack.ss_sp == alternate ? "told of its alternate stack" : "told of no alternate stack");
    say_number("main", "its flags", context_stack.ss_flags);
    say_number("main", "its size", (long)context_stack.ss_size);
    say("main secret", secret[0] == ' ' ? "kept" : "changed");
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = signals_handler};

    if (argc < 3)
        return 98;
    install(argv[2]);
    if (strcmp(argv[1], "intrude") == 0 && sigaction(SIGUSR2, &action, NULL) != 0)
        return 98;
    if (atexit(main_after) != 0 || signals_register(argv[1], secret) != 0)
        return 97;
    return 7;
}
