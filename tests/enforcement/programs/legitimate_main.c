/* `legitimate SCENARIO`: exits with a destructor of liblegitimate.so that touches only what it may. Copy relocations for
 * stdout, stderr, environ, optarg and optind put those of the C library beside this program's own data. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ia2_exit_note.h"
#include "legitimate.h"
#include "say.h"

IA2_SHARED_DATA static char shared_data[3 * 4096] = "shared";
static char static_variable[] = "STATIC=1";
static char later_variable[] = "AFTER_STATIC=found";
static __thread char thread_local_data[] = "thread-local";
static const char *const relro[] = {"first", "second"};
static const char constant[] = "constant";
static char own[128] = "own";

static void main_after(void) { say("main", own); }

int main(int argc, char **argv) {
    struct lent lent = {.shared_data = shared_data,
                        .heap = malloc(64),
                        .thread_local_data = thread_local_data,
                        .relro = relro,
                        .constant = constant,
                        .program = argv[0]};
    int option = getopt(argc, argv, "x:");

    if (lent.heap == NULL || optind >= argc)
        return 98;
    memcpy(lent.heap, "heap", sizeof "heap");
    memcpy(shared_data + 4096, "shared", sizeof "shared");
    fprintf(stdout, "option %c %s, environment %s\n", option, optarg, environ[0] == NULL ? "empty" : "there");
    fprintf(stderr, "standard error\n");
    if (strcmp(argv[optind], "getenv") == 0 || strcmp(argv[optind], "setenv") == 0)
        if (putenv(static_variable) != 0 || putenv(later_variable) != 0)
            return 98;
    if (atexit(main_after) != 0 || legitimate_register(argv[optind], &lent) != 0)
        return 97;
    memcpy(own, "own, changed", sizeof "own, changed");
    return 7;
}
