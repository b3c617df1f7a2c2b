/* `descriptors SCENARIO FOLDER`: what daemons do with their descriptors, before and after which handlers run. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void nothing(void) {}

enum { NUMBERS = 70000 };

/* Closes everything, in one call or one by one, then opens a file of ours on each number that was in use and on the first
 * hundreds: whoever still writes to a descriptor finds us there. */
static void take_all_numbers(const char *folder, int in_one_call) {
    static char used[NUMBERS];
    char path[256];
    for (int fd = 0; fd < NUMBERS; fd++) {
        used[fd] = fd < 300 || fcntl(fd, F_GETFD) != -1;
    }
    if (in_one_call) {
        close_range(0, ~0u, 0);
    }
    for (int fd = 0; fd < NUMBERS && !in_one_call; fd++) {
        close(fd);
    }
    snprintf(path, sizeof path, "%s/database", folder);
    int database = open(path, O_RDWR | O_CREAT, 0600);
    for (int fd = 1; fd < NUMBERS; fd++) {
        if (used[fd] && dup2(database, fd) != fd) {
            _exit(90);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        return 91;
    }
    const char *scenario = argv[1];
    atexit(nothing);
    if (strcmp(scenario, "daemon") == 0 || strcmp(scenario, "one-by-one") == 0) {
        take_all_numbers(argv[2], scenario[0] == 'd');
    } else if (strcmp(scenario, "chdir") == 0) {
        if (chdir("/") != 0) {
            return 92;
        }
        close_range(3, ~0u, 0);
    } else if (strcmp(scenario, "chroot") == 0 || strcmp(scenario, "chroot-close") == 0) {
        if (chroot(argv[2]) != 0 || chdir("/") != 0) {
            return 93;
        }
        if (scenario[6] == '-') {
            close_range(3, ~0u, 0);
        }
    }
    atexit(nothing);
    return 7;
}
