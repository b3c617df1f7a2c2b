/* What a backend that closes memory is made of, and the pieces of memory that there are to close. Only for backend.c, close_*.c and
 * closable.c. */
#ifndef IA2_CLOSE_H
#define IA2_CLOSE_H

#include "backend.h"

struct ia2_closer {
    const char *(*may_begin)(void); /* NULL, or why memory cannot be closed now */
    void (*begin)(void);            /* closes every piece */
    void (*end)(void);              /* opens every piece */
    bool (*linger)(void);           /* opens each when it is touched; false: it cannot */
    void (*rest)(
        struct ia2_thread *thread); /* from now on the thread has shared memory only, between its destructors */
    void (*stop_resting)(struct ia2_thread *thread);
    /* What a thread has not applied yet (changes.h), right before its next destructor; under the lock of backend.c. */
    void (*catch_up)(struct ia2_thread *thread, uint32_t changes);
    const char *(*enter)(struct ia2_thread *thread, const struct ia2_rights *rights);
    void (*leave)(struct ia2_thread *thread, const struct ia2_rights *outer);
    bool (*is_closed)(const struct ia2_thread *thread, const struct ia2_piece *piece);
    void (*open_piece)(struct ia2_piece *piece);
};

extern const struct ia2_closer ia2_close_mprotect;
extern const struct ia2_closer ia2_close_pku;

/* ---- close_pku.c, for choose.c ---------------------------------------------------------------------------------------------------- */

bool ia2_pku_exists(void);
uint32_t ia2_pku_frame_offset(void);
/* A new key, open to the calling thread and to those that it creates; 0: there is none left. */
uint8_t ia2_pku_new_key(void);
/* Gives a compartment its key. False: there is none left. */
bool ia2_pku_give_key(uint16_t compartment);
void ia2_pku_free_keys(void);
/* Tags the runtime's own writable memory with ia2_sealed.runtime_key. */
bool ia2_pku_tag_runtime(void);

/* PKRU with which shared memory and compartment `id` are open; backend pku. */
uint32_t ia2_pku_of(uint16_t id);

/* ---- closable.c -------------------------------------------------------------------------------------------------------------------- */

#define IA2_NO_PIECE 0u

/* Makes the list of pieces anew, from what is loaded and mapped now. Returns NULL, or why there is none. */
const char *ia2_pieces_refresh(void);
/* The same while some are closed, if mappings have changed since (ia2_pieces_change()): those keep what they had. */
void ia2_pieces_renew(void);
/* Likewise, but what is closed is listed as it is mapped now: `mark` is called for each piece before anybody sees the list, and `open` for
 * what was closed and is no piece any more. Returns false where nothing has changed, or the list stays as it was. While the table of objects
 * is held (ia2_objects_hold()). */
bool ia2_pieces_replace(void (*mark)(struct ia2_piece *piece),
                        void (*open)(uintptr_t start, uintptr_t end, int protection));
/* All pieces, or those of one compartment: number of the first, and of the next; IA2_NO_PIECE after the last. */
uint32_t ia2_pieces_count(void);
struct ia2_piece *ia2_piece_number(uint32_t number); /* 1 to count */
uint32_t ia2_piece_first_of(uint16_t compartment);
uint32_t ia2_piece_next_of(uint32_t number);
const struct ia2_piece *ia2_piece_known_at(uintptr_t address);
/* Is the object that the piece belonged to still there? Another may be mapped in its place. */
bool ia2_piece_is_there(const struct ia2_piece *piece);
/* Opens and forgets the pieces of one object. */
void ia2_pieces_forget(uint32_t slot, void (*open)(struct ia2_piece *piece));

#endif
