/* Exit records: one for each registration. glibc holds only a stub and a record number. */
#ifndef IA2_RECORDS_H
#define IA2_RECORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ia2_exit.h"

enum ia2_record_state { IA2_FREE, IA2_LIVE, IA2_RUNNING, IA2_DONE, IA2_DROPPED };

enum ia2_record_flag {
    IA2_FOREIGN = 1,   /* the registrar seems to be another compartment than the owner */
    IA2_VAGUE = 2,     /* the argument lies in a WEAK or UNIQUE symbol of another object: `also` is open too */
    IA2_REPEATED = 4,  /* runs many times (pthread_key): stays live */
};

struct exit_record {
    uintptr_t function;
    uintptr_t argument;
    uintptr_t dso;             /* dso_handle as given; of fini kinds the start of the object */
    uintptr_t registrar;       /* return address of the registration call, 0 where there was no call */
    _Atomic uint32_t generation; /* how often the slot has been used */
    _Atomic uint32_t next;     /* index + 1 in a chain: of free slots, or of one object's fini records */
    uint16_t owner;            /* compartment, or IA2_NO_OWNER */
    uint16_t also;             /* with IA2_VAGUE: the other compartment that is open */
    uint8_t kind;              /* enum ia2_exit_kind */
    uint8_t flags;
    _Atomic uint8_t state;     /* enum ia2_record_state */
    uint8_t unused;
    uint32_t index;            /* its own place in the table */
    uint32_t unused2;
    uint64_t unused3;
};

_Static_assert(sizeof(struct exit_record) == 64, "64 bytes a record is the published limit");

/* What glibc is given: generation and index + 1. Never 0. */
typedef uint64_t ia2_record_number;

/* A new record in state `free` that only the caller knows; NULL when memory or numbers ran out. Any thread, no lock. */
struct exit_record *ia2_record_new(void);
/* Makes the filled record live and returns its number. */
ia2_record_number ia2_record_publish(struct exit_record *record);
/* Back to the free slots. The caller must be the only one who can still reach it. */
void ia2_record_free(struct exit_record *record);

/* The record of a number that came back from glibc: bounds and generation checked; NULL when it names none. */
struct exit_record *ia2_record_find(ia2_record_number number);
/* live -> running; false when the state does not allow it. Records that repeat stay live. */
bool ia2_record_claim(struct exit_record *record);

uint32_t ia2_record_index(const struct exit_record *record); /* UINT32_MAX: not in the runtime's table */
struct exit_record *ia2_record_at(uint32_t index);           /* index < the count of slots ever used, else NULL */
uint32_t ia2_record_slots(void);                             /* slots ever used */

#endif
