/* Signal handlers of the program while a library's destructor runs: `signals SCENARIO`. The kernel starts a handler
 * with only key 0 open; the program does not know that. */
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board.h"
#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static volatile int own;
static char alternate[65536];
/* Thread-local storage is everybody's. */
static _Thread_local sigjmp_buf *back;

static void handle(int number) {
    CHECK(number == SIGUSR1);
    own += 1;
    rights_say("handler");
}

static void handle_and_jump(int number) {
    handle(number);
    siglongjmp(*back, 1);
}

/* The program's own SIGSEGV handler opens the page that it closed itself. */
static void open_page(int number, siginfo_t *info, void *context) {
    (void)context;
    CHECK(number == SIGSEGV && (char *)info->si_addr == BOARD->page);
    CHECK(mprotect(BOARD->page, 4096, PROT_READ | PROT_WRITE) == 0);
    rights_say("own fault");
}

/* What the library's destructor calls: code of main with the library's rights. */

static void raises(void) {
    CHECK(raise(SIGUSR1) == 0);
    a_touch(1);
    rights_say("after handler");
}

static void jumps(void) {
    sigjmp_buf here;
    back = &here;
    if (sigsetjmp(here, 1) == 0) {
        raise(SIGUSR1);
        CHECK(!"siglongjmp came back");
    }
    a_touch(1);
    rights_say("after handler");
}

static void touches_closed_page(void) {
    *(volatile char *)BOARD->page = 1;
    a_touch(1);
    rights_say("after handler");
}

static void install(void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void use_stack(void *memory) {
    stack_t stack = {.ss_sp = memory, .ss_size = 65536};
    CHECK(sigaltstack(&stack, NULL) == 0);
}

static void main_at_exit(void) { CHECK_OWN(main_at_exit, &own); }

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    board_make();
    b_register();
    CHECK(atexit(main_at_exit) == 0);
    if (strcmp(scenario, "raise") == 0) {
        install(handle, 0);
        a_register_action(raises);
    } else if (strcmp(scenario, "alternate") == 0) {
        use_stack(BOARD->stack);
        install(handle, SA_ONSTACK);
        a_register_action(raises);
    } else if (strcmp(scenario, "static-stack") == 0) {
        use_stack(alternate);
        install(handle, SA_ONSTACK);
        a_register_action(raises);
    } else if (strcmp(scenario, "jump") == 0) {
        install(handle_and_jump, 0);
        a_register_action(jumps);
    } else if (strcmp(scenario, "own-fault") == 0) {
        struct sigaction action = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
        CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
        BOARD->page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(BOARD->page != MAP_FAILED);
        a_register_action(touches_closed_page);
    } else {
        CHECK(!"a scenario of this program");
    }
    return 3;
}
