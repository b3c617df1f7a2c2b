/* ia2_destructor_lookup() with every pointer that the exit map lists and with more than a million others.
 *
 * A plain program that is linked with libia2.so. It makes up a map of its own loaded objects, with destructors at random places, and
 * starts itself again under it; the second process knows from the same seed what the answers must be.
 *
 *   unit_lookup_pointers [SEED]     without one: a new seed; it is printed */
#include <dlfcn.h>
#include <elf.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

#include "lookup_map.h"

static uint64_t checked;
static uint64_t found;
static int complaints;

static void complain(uintptr_t address, const char *what) {
    if (complaints++ < 20) {
        printf("0x%016" PRIxPTR ": %s\n", address, what);
    }
}

/* ---- what the answers must be: every listed address of this process, ascending ---- */

struct expected {
    uintptr_t address;
    const struct entry *entry;
    const struct listed *object;
};

static struct expected *expected;
static size_t expected_count;

static int compare(const void *a, const void *b) {
    const uintptr_t first = ((const struct expected *)a)->address;
    const uintptr_t second = ((const struct expected *)b)->address;
    return first < second ? -1 : first > second;
}

static void collect_expected(const struct lookup_map *map) {
    expected = calloc(map->count * ENTRIES_EACH, sizeof *expected);
    for (size_t i = 0; i < map->count; i++) {
        for (size_t j = 0; j < ENTRIES_EACH; j++) {
            const struct listed *object = &map->objects[i];
            expected[expected_count++] =
                (struct expected){object->base + object->entries[j].rva, &object->entries[j], object};
        }
    }
    qsort(expected, expected_count, sizeof *expected, compare);
}

static const struct expected *expectation(uintptr_t address) {
    const struct expected key = {.address = address};
    return bsearch(&key, expected, expected_count, sizeof *expected, compare);
}

/* Looks one pointer up. Returns what is wrong with the answer, NULL where nothing is. Callable from a signal handler. */
static const char *wrong_answer(uintptr_t address) {
    const struct ia2_destructor *answer = ia2_destructor_lookup((const void *)address);
    const struct expected *right = expectation(address);
    if (!answer || !right) {
        return !answer == !right ? NULL : answer ? "found, although the map does not list it" : "not found";
    }
    if (answer->rva != right->entry->rva || answer->kind != right->entry->kind) {
        return "another destructor's metadata";
    }
    if (answer->compartment != right->entry->compartment) {
        return "another compartment";
    }
    return answer->symbol == NULL && strcmp(answer->object, right->object->name) == 0 ? NULL : "another name";
}

static void check(uintptr_t address) {
    const char *wrong = wrong_answer(address);
    checked++;
    found += expectation(address) != NULL;
    if (wrong) {
        complain(address, wrong);
    }
}

/* ---- pointers of all sorts ---- */

static void check_listed(void) {
    for (size_t i = 0; i < expected_count; i++) {
        for (intptr_t off = -9; off <= 9; off++) {
            check(expected[i].address + (uintptr_t)off);
        }
        for (unsigned bit = 0; bit < 64; bit++) {
            check(expected[i].address ^ 1ul << bit);
        }
        if (i + 1 < expected_count) {
            check(expected[i].address + (expected[i + 1].address - expected[i].address) / 2);
        }
    }
}

static void check_edges_of_mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    uintptr_t edges[2];
    char line[512];
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &edges[0], &edges[1]) == 2) {
            for (int i = 0; i < 2; i++) {
                for (intptr_t off = -16; off <= 16; off++) {
                    check(edges[i] + (uintptr_t)off);
                }
            }
        }
    }
    if (!maps || fclose(maps) != 0) {
        complain(0, "/proc/self/maps cannot be read");
    }
}

static void check_memory_of_the_process(uint64_t *random) {
    static char data[4096];
    char stack[4096];
    char *heap = malloc(4096);
    char *pages = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 4096; i++) {
        check((uintptr_t)&data[i]);
        check((uintptr_t)&stack[i]);
        check((uintptr_t)&heap[i]);
        check((uintptr_t)pages + lookup_random(random) % (1 << 20));
    }
    munmap(pages, 1 << 20);
    check((uintptr_t)pages); /* unmapped now */
    free(heap);
}

static void check_random(const struct lookup_map *map, uint64_t *random) {
    for (int i = 0; i < 200000; i++) {
        const struct listed *object = &map->objects[lookup_random(random) % map->count];
        const uint64_t bits = lookup_random(random);
        check(object->base + bits % object->span);    /* within an object, its gaps included */
        check(bits);                                  /* anything */
        check(bits >> 17);                            /* user space */
        check((bits >> 1) % (1ul << 63) | 1ul << 63); /* the upper half */
        check(0xffff800000000000ul | bits >> 17);     /* the kernel's */
        check((bits >> 16) + 0x0000800000000000ul);   /* non-canonical */
        check(bits >> (bits % 64));                   /* of any size */
    }
    for (uintptr_t small = 0; small < 70000; small++) {
        check(small);
        check(0 - small);
        check(0x0000800000000000ul - 35000 + small); /* around the end of user space */
        check(0xffff800000000000ul - 35000 + small); /* and the begin of the kernel's */
    }
}

/* ---- from a signal handler, while objects come and go ---- */

static atomic_uint interruptions;
static _Atomic(const char *) wrong_in_handler;

static void on_alarm(int number) {
    static uint64_t random = 1;
    (void)number;
    for (int i = 0; i < 20; i++) {
        const uint64_t bits = lookup_random(&random);
        const char *wrong = wrong_answer(expected[bits % expected_count].address + (bits >> 32) % 2);
        if (wrong) {
            wrong_in_handler = wrong;
        }
    }
    interruptions++;
}

static void *look_up_meanwhile(void *stop) {
    uint64_t random = 2;
    while (!*(atomic_bool *)stop) {
        const char *wrong = wrong_answer(expected[lookup_random(&random) % expected_count].address);
        if (wrong) {
            wrong_in_handler = wrong;
        }
    }
    return NULL;
}

static void check_interrupted(void) {
    static char stack[65536];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART};
    const struct itimerval often = {{0, 100}, {0, 100}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    atomic_bool stop = false;
    pthread_t thread;
    if (sigaltstack(&other, NULL) != 0 || sigaction(SIGALRM, &action, NULL) != 0 ||
        pthread_create(&thread, NULL, look_up_meanwhile, &stop) != 0) {
        complain(0, "no signal or thread to try it with");
        return;
    }
    setitimer(ITIMER_REAL, &often, NULL);
    while (interruptions < 500) {
        void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
        check(library ? (uintptr_t)dlsym(library, "__res_mkquery") : 0);
        if (!library || dlclose(library) != 0) {
            complain(0, "libresolv.so.2 cannot be loaded and unloaded");
            break;
        }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    stop = true;
    pthread_join(thread, NULL);
    if (wrong_in_handler) {
        complain(0, wrong_in_handler);
    }
}

int main(int argc, char **argv) {
    static struct lookup_map map;
    uint64_t seed = 0;
    if (argc > 1) {
        seed = strtoull(argv[1], NULL, 0);
    } else if (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        return 1;
    }
    uint64_t random = seed;
    lookup_map_of_loaded_objects(&map, &random);
    if (!getenv("IA2_EXIT_MAP")) {
        return lookup_run_again(&map, argv[0], seed);
    }
    collect_expected(&map);
    check_listed();
    check_edges_of_mappings();
    check_memory_of_the_process(&random);
    check_random(&map, &random);
    check_interrupted();
    printf("seed 0x%" PRIx64 ": %zu objects, %zu destructors, %" PRIu64 " pointers, of which %" PRIu64
           " listed, %d wrong answers\n",
           seed, map.count, expected_count, checked, found, complaints);
    return complaints != 0 || map.count < 3 || found < expected_count || checked - found < 1000000;
}
