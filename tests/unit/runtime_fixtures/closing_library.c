/* A library whose destructor looks around. */
#include <stdlib.h>

#include "snapshot.h"

static volatile int closing_data[4096] = {1};

static void look(void) {
    closing_data[0]++;
    tell("during");
}

static void on_late(int signal) { (void)signal; }

/* Handlers that are installed while the exit is under way. */
static void change(void) {
    struct sigaction action = {.sa_handler = on_late, .sa_flags = SA_RESTART | SA_NODEFER};
    sigaddset(&action.sa_mask, SIGPIPE);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGFPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    tell("changed");
}

void closing_register(void) { atexit(look); }
void closing_register_change(void) { atexit(change); }
