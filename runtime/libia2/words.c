#include "words.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "objects.h"
#include "run.h"
#include "system.h"

#define LOWEST_COPY 200 /* out of the way of programs that count on low numbers */

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

const char *ia2_words_string(struct ia2_words *words) {
    words->text[words->length] = '\0'; /* where the newline would be */
    return words->text;
}

/* What standard error was when the process started: a program may close it and get its number for a file of its own. */
static struct {
    bool known;
    uint64_t device, inode;
    long copy; /* a duplicate, for programs whose first exit handler closes it; 0: none */
} error;

static bool is_error(long descriptor) {
    struct stat status;
    return error.known && ia2_syscall2(SYS_fstat, descriptor, (long)&status) == 0 && status.st_dev == error.device &&
           status.st_ino == error.inode;
}

void ia2_words_remember(void) {
    struct stat status;
    error.known = ia2_syscall2(SYS_fstat, 2, (long)&status) == 0;
    error.device = status.st_dev;
    error.inode = status.st_ino;
}

void ia2_words_keep(void) {
    if (error.copy == 0 && is_error(2)) {
        long copy = ia2_syscall3(SYS_fcntl, 2, F_DUPFD_CLOEXEC, LOWEST_COPY);
        error.copy = copy > 0 ? copy : 0;
    }
}

void ia2_words_end(struct ia2_words *words) {
    words->text[words->length++] = '\n';
    long target = is_error(2) ? 2 : error.copy != 0 && is_error(error.copy) ? error.copy : -1;
    if (target >= 0) {
        ia2_syscall3(SYS_write, target, (long)words->text, (long)words->length);
    }
}
