/* One line for people: numbers, places, compartments; whole, or cut, but always one line and one write. */
#include "words.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "objects.h"
#include "run.h"

/* Of the object table, in the runtime: one object, libthing.so at 0x5000 to 0x8fff. */
static struct ia2_object thing = {.base = 0x4000, .path = "/usr/lib/libthing.so"};

uint32_t ia2_object_at(uintptr_t address) { return address - 0x5000 < 0x4000 ? 7 : 0; }

struct ia2_object *ia2_object(uint32_t slot) {
    cr_assert_eq(slot, 7);
    return &thing;
}

const char *ia2_compartment_name(uint16_t id) { return id == 3 ? "tls" : "?"; }

TestSuite(words, .timeout = 20);

/* Ends the line with standard error on a pipe that keeps writes apart, and says what came out in the first one. */
static const char *ended(struct ia2_words *words) {
    static char text[4096];
    int ends[2];
    int before = dup(2);
    cr_assert_eq(pipe2(ends, O_DIRECT | O_NONBLOCK), 0);
    dup2(ends[1], 2);
    ia2_words_remember();
    ia2_words_end(words);
    dup2(before, 2);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    char more;
    cr_expect_lt(read(ends[0], &more, 1), 0, "one write");
    close(before);
    close(ends[0]);
    close(ends[1]);
    text[length < 0 ? 0 : length] = '\0';
    return text;
}

Test(words, a_line) {
    struct ia2_words words;
    ia2_words_begin(&words, "libia2.so: ");
    ia2_words_text(&words, "");
    ia2_words_text(&words, "all is ");
    ia2_words_text(&words, "well");
    cr_expect_str_eq(ended(&words), "libia2.so: all is well\n");
    ia2_words_begin(&words, "");
    cr_expect_str_eq(ended(&words), "\n");
}

Test(words, numbers) {
    static const uint64_t numbers[] = {0, 1, 9, 10, 15, 16, 4096, 0x123456789abcdef, 1ul << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct ia2_words words;
        char expected[64];
        snprintf(expected, sizeof expected, "%lu 0x%lx\n", numbers[i], numbers[i]);
        ia2_words_begin(&words, "");
        ia2_words_number(&words, numbers[i]);
        ia2_words_text(&words, " ");
        ia2_words_hex(&words, numbers[i]);
        cr_expect_str_eq(ended(&words), expected);
    }
}

Test(words, a_place_is_an_object_and_its_rva_where_there_is_one) {
    static const struct {
        uintptr_t address;
        const char *words;
    } cases[] = {
        {0x5000, "libthing.so+0x1000\n"},
        {0x8fff, "libthing.so+0x4fff\n"},
        {0x4fff, "0x4fff\n"},
        {0x9000, "0x9000\n"},
        {UINTPTR_MAX, "0xffffffffffffffff\n"},
        {0, "0x0\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ia2_words words;
        ia2_words_begin(&words, "");
        ia2_words_place(&words, cases[i].address);
        cr_expect_str_eq(ended(&words), cases[i].words);
    }
}

Test(words, a_compartment_has_a_number_and_a_name) {
    struct ia2_words words;
    ia2_words_begin(&words, "");
    ia2_words_compartment(&words, 3);
    cr_expect_str_eq(ended(&words), "3 (tls)\n");
    ia2_words_begin(&words, "");
    ia2_words_compartment(&words, IA2_NO_OWNER);
    cr_expect_str_eq(ended(&words), "nobody\n");
}

Test(words, what_does_not_fit_is_left_out_and_the_line_ends) {
    for (size_t length = sizeof((struct ia2_words *)0)->text - 5; length < 2000; length++) {
        struct {
            struct ia2_words words;
            char behind[64];
            char end;
        } room;
        char text[2001];
        memset(&room, '#', sizeof room);
        room.end = '\0';
        memset(text, 'x', length);
        text[length] = '\0';
        ia2_words_begin(&room.words, text);
        ia2_words_number(&room.words, UINT64_MAX);
        ia2_words_place(&room.words, 0x5000);
        ia2_words_compartment(&room.words, 3);
        const char *line = ended(&room.words);
        cr_expect_eq(strlen(line), sizeof room.words.text, "%zu characters", length);
        cr_expect_eq(strchr(line, '\n'), line + strlen(line) - 1, "one newline, at the end");
        room.behind[sizeof room.behind - 1] -= '#'; /* the end of a string, if it is what it was */
        cr_expect_eq(strspn(room.behind, "#"), sizeof room.behind - 1, "nothing is written behind it");
    }
}

/* ---- standard error that the program has closed ------------------------------------------------------------------------------------ */

/* Makes descriptor 2 one end of a pipe; returns the other one. */
static int pipe_to_2(void) {
    int ends[2];
    cr_assert_eq(pipe2(ends, O_DIRECT | O_NONBLOCK), 0);
    int reading = fcntl(ends[0], F_DUPFD, 50); /* it may have got the number 2 itself */
    int writing = fcntl(ends[1], F_DUPFD, 50);
    close(ends[0]);
    close(ends[1]);
    dup2(writing, 2);
    close(writing);
    return reading;
}

static void say_line(void) {
    struct ia2_words words;
    ia2_words_begin(&words, "said");
    ia2_words_end(&words);
}

static bool got_line(int end) {
    char text[16] = "";
    return read(end, text, sizeof text) == 5 && memcmp(text, "said\n", 5) == 0;
}

Test(words, a_program_that_closes_standard_error_does_not_silence_us) {
    int end = pipe_to_2();
    ia2_words_remember();
    ia2_words_keep();
    say_line();
    cr_expect(got_line(end));
    close(2);
    say_line();
    cr_expect(got_line(end));
}

Test(words, a_file_that_the_program_opens_in_its_place_gets_no_line) {
    int end = pipe_to_2();
    ia2_words_remember();
    ia2_words_keep();
    int file = pipe_to_2();
    say_line();
    cr_expect(got_line(end));
    cr_expect_not(got_line(file));
}

/* A daemon closes all that it was given, and its database gets the number 2. */
Test(words, a_file_of_before_the_exit_gets_no_line_either) {
    int end = pipe_to_2();
    ia2_words_remember();
    int file = pipe_to_2();
    ia2_words_keep();
    say_line();
    cr_expect_not(got_line(file));
    cr_expect_not(got_line(end));
}

Test(words, without_standard_error_at_the_start_there_are_no_lines) {
    close(2);
    ia2_words_remember();
    int file = pipe_to_2();
    ia2_words_keep();
    say_line();
    cr_expect_not(got_line(file));
}

Test(words, when_the_copy_is_closed_too_nothing_is_written) {
    int end = pipe_to_2();
    ia2_words_remember();
    ia2_words_keep();
    int file = pipe_to_2();
    for (int number = 100; number < 1000; number++) {
        close(number);
    }
    say_line();
    cr_expect_not(got_line(file));
    cr_expect_not(got_line(end));
}

Test(words, the_copy_is_out_of_the_way_and_does_not_outlive_exec) {
    enum { NUMBERS = 1000 };
    bool before[NUMBERS];
    int copies = 0;
    pipe_to_2();
    for (int number = 0; number < NUMBERS; number++) {
        before[number] = fcntl(number, F_GETFD) >= 0;
    }
    ia2_words_remember();
    ia2_words_keep();
    for (int number = 0; number < NUMBERS; number++) {
        int flags = fcntl(number, F_GETFD);
        if (flags >= 0 && !before[number]) {
            copies++;
            cr_expect_geq(number, 100, "programs count on low numbers");
            cr_expect(flags & FD_CLOEXEC);
        }
    }
    cr_expect_eq(copies, 1);
}
