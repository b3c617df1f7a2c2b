#include "words.h"

#include <fcntl.h>
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

/* A duplicate of standard error, for programs whose first exit handler closes it. */
static struct {
    long descriptor; /* 0: none */
    uint64_t device, inode;
} kept;

static bool is_kept(long descriptor) {
    struct stat status;
    return ia2_syscall2(SYS_fstat, descriptor, (long)&status) == 0 && status.st_dev == kept.device &&
           status.st_ino == kept.inode;
}

void ia2_words_keep(void) {
    struct stat status;
    if (kept.descriptor == 0 && ia2_syscall2(SYS_fstat, 2, (long)&status) == 0) {
        long copy = ia2_syscall3(SYS_fcntl, 2, F_DUPFD_CLOEXEC, LOWEST_COPY);
        kept.descriptor = copy > 0 ? copy : 0;
        kept.device = status.st_dev;
        kept.inode = status.st_ino;
    }
}

void ia2_words_end(struct ia2_words *words) {
    words->text[words->length++] = '\n';
    bool copy = kept.descriptor != 0 && !is_kept(2) && is_kept(kept.descriptor);
    ia2_syscall3(SYS_write, copy ? kept.descriptor : 2, (long)words->text, (long)words->length);
}
