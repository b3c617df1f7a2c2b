/* A destructor that uses the data of another object of its own compartment, in the way that main has asked for. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char neighbour_text[8192], neighbour_room[8192];
extern volatile int neighbour_count;
extern int main_value;
const char *neighbours_way = "";

static void say(const char *text) { (void)!write(STDOUT_FILENO, text, strlen(text)); }

static void loads_and_stores(void) {
    char text[32];
    neighbour_count = neighbour_count + 1;
    (void)!write(STDOUT_FILENO, text, (size_t)snprintf(text, sizeof text, "count %d\n", neighbour_count));
}

static void writes(void) { (void)!write(STDOUT_FILENO, neighbour_text, strlen(neighbour_text)); }

/* Two buffers, the second of which alone is the neighbour's: no short count. */
static void gathers(void) {
    struct iovec parts[2] = {{"and ", 4}, {neighbour_text, strlen(neighbour_text)}};
    if (writev(STDOUT_FILENO, parts, 2) != (ssize_t)(4 + strlen(neighbour_text)))
        say("short\n");
}

static void reads(void) {
    int file = open("/proc/self/cmdline", O_RDONLY);
    say(read(file, neighbour_room, sizeof neighbour_room) > 0 && neighbour_room[0] ? "filled\n" : "not filled\n");
    close(file);
}

static void on_signal(int number) {
    (void)number;
    writes();
    reads();
}

static void handles(void) {
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
}

static void forks(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        writes();
        _exit(neighbour_count + 4);
    }
    waitpid(child, &status, 0);
    say(WIFEXITED(status) && WEXITSTATUS(status) == 5 ? "child ended\n" : "child died\n");
}

static void strays(void) { main_value++; }

__attribute__((destructor)) static void destructor(void) {
    static const struct {
        const char *name;
        void (*function)(void);
    } ways[] = {{"loads-and-stores", loads_and_stores},
                {"writes", writes},
                {"gathers", gathers},
                {"reads", reads},
                {"handles", handles},
                {"forks", forks},
                {"strays", strays}};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(neighbours_way, ways[i].name)) {
            ways[i].function();
            ways[i].function(); /* when all is open that it needs */
        }
}
