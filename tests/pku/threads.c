/* Other threads during the exit phase: `threads SCENARIO`. PKRU is a thread's own: they keep their rights. */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

static volatile int own;

/* Touches the data of every compartment, again and again, until the process ends. */
static void *touch_everything(void *number) {
    uint32_t before = rights_now();
    while (!atomic_load(&BOARD->stop)) {
        own += 1;
        a_touch(1);
        b_touch(1);
        CHECK(rights_now() == before);
        atomic_fetch_add(&BOARD->rounds[(uintptr_t)number], 1);
    }
    return NULL;
}

static void start(uintptr_t number) {
    pthread_t started;
    CHECK(pthread_create(&started, NULL, touch_everything, (void *)number) == 0);
}

/* Older than main: as old as a thread of the program can be. */
__attribute__((constructor)) static void constructor(int argc, char **argv) {
    board_make();
    if (argc > 1 && strcmp(argv[1], "working") == 0) {
        start(0);
    }
}

/* While the calling destructor runs, every thread goes round a hundred times. */
static void wait_for_threads(void) {
    for (int i = 0; i < 2; i++) {
        long enough = atomic_load(&BOARD->rounds[i]) + 100;
        while (atomic_load(&BOARD->rounds[i]) < enough) {
            sched_yield();
        }
    }
}

static void main_waits(void) {
    CHECK_OWN(main_waits, &own);
    wait_for_threads();
    CHECK_OWN(main_waits, &own);
}

static void *touch_once(void *unused) {
    own += 1;
    b_touch(1);
    return unused;
}

/* Called by a library's destructor: the thread begins with that destructor's rights, and may touch all the same. */
static void starts_thread(void) {
    pthread_t started;
    CHECK(pthread_create(&started, NULL, touch_once, NULL) == 0);
    CHECK(pthread_join(started, NULL) == 0);
    rights_say("joined");
}

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    if (strcmp(scenario, "working") == 0) {
        start(1);
        CHECK(atexit(main_waits) == 0);
        a_register_action(wait_for_threads);
        b_register_action(wait_for_threads);
        return 3;
    }
    if (strcmp(scenario, "born") == 0) {
        b_register();
        a_register_action(starts_thread);
        return 3;
    }
    CHECK(!"a scenario of this program");
}
