/* One line for people on standard error, where no event can be (or as well): built on the stack, written by one write(). */
#ifndef IA2_WORDS_H
#define IA2_WORDS_H

#include <stddef.h>
#include <stdint.h>

struct ia2_words {
    size_t length;
    char text[1536]; /* what does not fit is left out */
};

void ia2_words_begin(struct ia2_words *words, const char *text);
void ia2_words_text(struct ia2_words *words, const char *text);
void ia2_words_number(struct ia2_words *words, uint64_t number);
void ia2_words_hex(struct ia2_words *words, uint64_t number);
/* "object+0xrva", or the address where no object is. */
void ia2_words_place(struct ia2_words *words, uintptr_t address);
/* "3 (name)" */
void ia2_words_compartment(struct ia2_words *words, uint16_t id);
/* What it is so far, to be said elsewhere. */
const char *ia2_words_string(struct ia2_words *words);
/* Lines go to what standard error is now, and never to another file that gets its number. From the constructor, before the first line. */
void ia2_words_remember(void);
/* And they still go there when the program closes it. When the exit phase begins. */
void ia2_words_keep(void);
/* Adds the newline and writes it. */
void ia2_words_end(struct ia2_words *words);

#endif
