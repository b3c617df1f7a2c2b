#include "words.h"

#include "objects.h"
#include "run.h"
#include "system.h"

static void put(struct ia2_words *words, char c) {
    if (words->length < sizeof words->text - 1) { /* room for the newline */
        words->text[words->length++] = c;
    }
}

void ia2_words_text(struct ia2_words *words, const char *text) {
    for (; *text; text++) {
        put(words, *text);
    }
}

void ia2_words_begin(struct ia2_words *words, const char *text) {
    words->length = 0;
    ia2_words_text(words, text);
}

static void put_digits(struct ia2_words *words, uint64_t number, unsigned base) {
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    while (count) {
        put(words, reversed[--count]);
    }
}

void ia2_words_number(struct ia2_words *words, uint64_t number) { put_digits(words, number, 10); }

void ia2_words_hex(struct ia2_words *words, uint64_t number) {
    ia2_words_text(words, "0x");
    put_digits(words, number, 16);
}

void ia2_words_place(struct ia2_words *words, uintptr_t address) {
    uint32_t slot = ia2_object_at(address);
    if (slot) {
        ia2_words_text(words, ia2_base_name(ia2_object(slot)->path));
        ia2_words_text(words, "+");
        address -= ia2_object(slot)->base;
    }
    ia2_words_hex(words, address);
}

void ia2_words_compartment(struct ia2_words *words, uint16_t id) {
    if (id == IA2_NO_OWNER) {
        ia2_words_text(words, "nobody");
        return;
    }
    ia2_words_number(words, id);
    ia2_words_text(words, " (");
    ia2_words_text(words, ia2_compartment_name(id));
    ia2_words_text(words, ")");
}

void ia2_words_end(struct ia2_words *words) {
    words->text[words->length++] = '\n';
    ia2_syscall3(SYS_write, 2, (long)words->text, (long)words->length);
}
