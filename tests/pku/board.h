/* Memory that every compartment may touch, at an address that needs no pointer in anybody's data. */
#ifndef BOARD_H
#define BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "rights.h"

struct board {
    _Atomic bool stop;
    _Atomic long rounds[2];
    char stack[1 << 20]; /* for signal handlers */
    char *page;          /* closed by the program itself */
    void *plugin;        /* handle of dlopen */
    void *dso_of_a;      /* what a_dso() gives */
    void *dso_of_b;
    uint32_t leaving; /* the compartment that calls exit() */
};

#define BOARD ((struct board *)0x200000000000)

static inline void board_make(void) {
    CHECK(mmap(BOARD, sizeof *BOARD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          BOARD);
}

#endif
