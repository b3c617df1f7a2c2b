/* Event lines: whatever a path or a message holds, the line is one valid JSON object. Jansson, which is strict about
 * UTF-8, reads each line back. */
#include "line.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Ends the line and reads it back; the caller's is the object. */
static json_t *finish(struct ia2_line *line) {
    cr_assert(ia2_line_end(line), "the line is full");
    cr_assert_eq(line->text[line->length - 1], '\n');
    cr_assert_null(memchr(line->text, '\n', line->length - 1), "one line");
    json_error_t error;
    json_t *object = json_loadb(line->text, line->length, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(object, "%s at %d: %.*s", error.text, error.position, (int)line->length, line->text);
    return object;
}

/* What a reader gets for the string `value`. */
static void check_string(const char *value, const char *expected) {
    struct ia2_line line;
    ia2_line_begin(&line, "test");
    ia2_line_string(&line, "value", value);
    json_t *object = finish(&line);
    const char *got = json_string_value(json_object_get(object, "value"));
    cr_expect_str_eq(got, expected, "from \"%s\": \"%s\", expected \"%s\"", value, got, expected);
    json_decref(object);
}

#define REPLACED "\xef\xbf\xbd" /* U+FFFD in UTF-8 */

Test(line, begins_with_the_event_and_ends_with_a_newline) {
    struct ia2_line line;
    ia2_line_begin(&line, "start");
    cr_assert(ia2_line_end(&line));
    cr_expect_eq(line.length, strlen("{\"event\":\"start\"}\n"));
    cr_expect_eq(memcmp(line.text, "{\"event\":\"start\"}\n", line.length), 0);
}

Test(line, quotes_and_backslashes_are_escaped) {
    check_string("", "");
    check_string("\"", "\"");
    check_string("\\", "\\");
    check_string("a\"b\\c\\\"", "a\"b\\c\\\"");
    check_string("C:\\new\\table\\u0041", "C:\\new\\table\\u0041");
    check_string("/usr/lib/libc.so.6", "/usr/lib/libc.so.6");
}

Test(line, every_single_byte_gives_valid_json) {
    for (int byte = 1; byte < 256; byte++) {
        char value[] = {'<', (char)byte, '>', '\0'};
        char expected[8];
        snprintf(expected, sizeof expected, "<%s>", byte < 0x80 ? (char[]){(char)byte, '\0'} : REPLACED);
        check_string(value, expected);
    }
}

Test(line, control_characters_are_written_in_hexadecimal) {
    struct ia2_line line;
    ia2_line_begin(&line, "test");
    ia2_line_string(&line, "value", "\x01\n\x1f\x7f");
    json_decref(finish(&line));
    cr_expect_not_null(memmem(line.text, line.length, "\\u0001\\u000a\\u001f\\u007f", 24));
}

/* Unicode 15, table 3-7, "Well-Formed UTF-8 Byte Sequences": the first and the last of each row. */
Test(line, well_formed_utf8_passes_unchanged) {
    static const char *const valid[] = {
        "\x01",
        "\x7f", /* U+0000..U+007F (0 ends a C string) */
        "\xc2\x80",
        "\xdf\xbf", /* U+0080..U+07FF */
        "\xe0\xa0\x80",
        "\xe0\xbf\xbf", /* U+0800..U+0FFF */
        "\xe1\x80\x80",
        "\xec\xbf\xbf", /* U+1000..U+CFFF */
        "\xed\x80\x80",
        "\xed\x9f\xbf", /* U+D000..U+D7FF */
        "\xee\x80\x80",
        "\xef\xbf\xbf", /* U+E000..U+FFFF */
        "\xf0\x90\x80\x80",
        "\xf0\xbf\xbf\xbf", /* U+10000..U+3FFFF */
        "\xf1\x80\x80\x80",
        "\xf3\xbf\xbf\xbf", /* U+40000..U+FFFFF */
        "\xf4\x80\x80\x80",
        "\xf4\x8f\xbf\xbf", /* U+100000..U+10FFFF */
    };
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        char between[16];
        snprintf(between, sizeof between, "a%sz", valid[i]);
        check_string(valid[i], valid[i]);
        check_string(between, between);
    }
}

/* One step outside each row of that table, and sequences that are cut short by an ASCII character or the end. Each byte
 * that begins no well-formed sequence becomes one replacement. */
Test(line, ill_formed_utf8_is_replaced) {
    static const struct {
        const char *value;
        int replaced;
    } invalid[] = {
        {"\x80", 1},
        {"\xbf", 1},
        {"\xc0\x80", 2},
        {"\xc1\xbf", 2},
        {"\xc2", 1},
        {"\xc2\xc0", 2},
        {"\xdf\xff", 2},
        {"\xe0\x9f\xbf", 3},
        {"\xe0\xa0", 2},
        {"\xe0\xc0\x80", 3},
        {"\xe1\x7f", -1},
        {"\xe1\x80\xc0", 3},
        {"\xec\xbf", 2},
        {"\xed\xa0\x80", 3},
        {"\xed\xbf\xbf", 3},
        {"\xef\xbf", 2},
        {"\xf0\x8f\xbf\xbf", 4},
        {"\xf0\x90\x80", 3},
        {"\xf0\x90\x80\xc0", 4},
        {"\xf0\x90\xc0\x80", 4},
        {"\xf3\xbf", 2},
        {"\xf4\x90\x80\x80", 4},
        {"\xf5\x80\x80\x80", 4},
        {"\xf8\x88\x80\x80\x80", 5},
        {"\xfe", 1},
        {"\xff", 1},
    };
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        char value[16];
        char expected[64] = "<";
        snprintf(value, sizeof value, "<%s>", invalid[i].value);
        for (int count = 0; count < invalid[i].replaced; count++) {
            strcat(expected, REPLACED);
        }
        strcat(expected, invalid[i].replaced < 0 ? REPLACED "\x7f>" : ">");
        check_string(value, expected);
    }
}

/* All 65,536 pairs of bytes: the line is valid and, where jansson takes the pair itself, unchanged. */
Test(line, every_pair_of_bytes_gives_valid_json) {
    for (int first = 1; first < 256; first++) {
        for (int second = 1; second < 256; second++) {
            char value[] = {(char)first, (char)second, '\0'};
            json_t *itself = json_string(value);
            struct ia2_line line;
            ia2_line_begin(&line, "test");
            ia2_line_string(&line, "value", value);
            json_t *object = finish(&line);
            const char *got = json_string_value(json_object_get(object, "value"));
            cr_assert(itself ? strcmp(got, value) == 0 : strstr(got, REPLACED) != NULL, "%02x %02x", first, second);
            json_decref(object);
            json_decref(itself);
        }
    }
}

Test(line, a_missing_string_is_null) {
    struct ia2_line line;
    ia2_line_begin(&line, "test");
    ia2_line_string(&line, "value", NULL);
    ia2_line_null(&line, "other");
    json_t *object = finish(&line);
    cr_expect(json_is_null(json_object_get(object, "value")));
    cr_expect(json_is_null(json_object_get(object, "other")));
    json_decref(object);
}

Test(line, a_long_string_keeps_its_end) {
    char value[IA2_STRING_MAX + 101];
    memset(value, 'x', sizeof value - 1);
    memcpy(value + sizeof value - 11, "/libend.so", 11);
    char expected[sizeof value + 3] = "\xe2\x80\xa6";
    strcat(expected, value + 100);
    check_string(value, expected);
    check_string(value + 100, value + 100); /* just as long as a string may be */
}

/* A cut in the middle of a character must not make the line invalid. */
Test(line, a_long_string_of_long_characters_is_cut_validly) {
    for (size_t shift = 0; shift < 4; shift++) {
        char value[2048] = "";
        memset(value, 'a', shift);
        for (size_t at = shift; at + 12 < sizeof value; at += 4) {
            memcpy(value + at, "\xf0\x9f\x98\x80", 4);
        }
        strcat(value, "/end.so");
        struct ia2_line line;
        ia2_line_begin(&line, "test");
        ia2_line_string(&line, "value", value);
        json_t *object = finish(&line);
        const char *got = json_string_value(json_object_get(object, "value"));
        cr_expect_str_eq(got + strlen(got) - 7, "/end.so");
        json_decref(object);
    }
}

/* The longest that fits is written; one byte more and the line is refused, whatever came after. */
Test(line, a_full_line_is_refused) {
    static const char member[] = ",\"k\":\"\"";
    const size_t fixed = strlen("{\"event\":\"test\"}\n");
    for (size_t excess = 0; excess < 3; excess++) {
        struct ia2_line line;
        size_t left = IA2_LINE_MAX - fixed + excess;
        ia2_line_begin(&line, "test");
        while (left > 0) {
            size_t length = left - strlen(member) < 700 ? left - strlen(member) : 600;
            char value[701];
            memset(value, 'v', length);
            value[length] = '\0';
            ia2_line_string(&line, "k", value);
            left -= length + strlen(member);
        }
        cr_expect_eq(ia2_line_end(&line), excess == 0, "%zu bytes too many", excess);
        cr_expect_leq(line.length, IA2_LINE_MAX);
        if (excess > 0) {
            ia2_line_number(&line, "more", 1);
            cr_expect_not(ia2_line_end(&line), "a line that was full stays so");
        }
    }
}

/* PIPE_BUF is what a pipe takes in one piece (pipe(7)). */
Test(line, a_line_is_at_most_what_a_pipe_takes_in_one_piece) { cr_expect_leq(IA2_LINE_MAX, 4096u); }

Test(line, a_line_that_was_full_can_be_begun_again) {
    struct ia2_line line;
    ia2_line_begin(&line, "test");
    for (int i = 0; i < 5000; i++) {
        ia2_line_null(&line, "k");
    }
    cr_assert_not(ia2_line_end(&line));
    ia2_line_begin(&line, "next");
    json_decref(finish(&line));
}

static void check_text(const struct ia2_line *line, const char *expected) {
    cr_expect_eq(line->length, strlen(expected), "%.*s", (int)line->length, line->text);
    cr_expect_eq(memcmp(line->text, expected, line->length), 0, "%.*s", (int)line->length, line->text);
}

Test(line, numbers_are_exact) {
    struct ia2_line line;
    ia2_line_begin(&line, "n");
    ia2_line_number(&line, "a", 0);
    ia2_line_number(&line, "b", 10);
    ia2_line_number(&line, "c", UINT64_MAX);
    cr_assert(ia2_line_end(&line));
    check_text(&line, "{\"event\":\"n\",\"a\":0,\"b\":10,\"c\":18446744073709551615}\n");
}

Test(line, addresses_are_hexadecimal_strings) {
    struct ia2_line line;
    ia2_line_begin(&line, "n");
    ia2_line_hex(&line, "a", 0);
    ia2_line_hex(&line, "b", 0xfffffffcu);
    ia2_line_hex(&line, "c", UINT64_MAX);
    ia2_line_hex(&line, "d", 0x0123456789abcdefull);
    cr_assert(ia2_line_end(&line));
    check_text(&line, "{\"event\":\"n\",\"a\":\"0x0\",\"b\":\"0xfffffffc\",\"c\":\"0xffffffffffffffff\","
                      "\"d\":\"0x123456789abcdef\"}\n");
}

Test(line, objects_nest) {
    struct ia2_line line;
    ia2_line_begin(&line, "test");
    ia2_line_open(&line, "outer");
    ia2_line_bool(&line, "yes", true);
    ia2_line_open(&line, "inner");
    ia2_line_close(&line);
    ia2_line_bool(&line, "no", false);
    ia2_line_close(&line);
    ia2_line_number(&line, "after", 7);
    json_t *object = finish(&line);
    json_t *outer = json_object_get(object, "outer");
    cr_expect(json_is_true(json_object_get(outer, "yes")));
    cr_expect(json_is_false(json_object_get(outer, "no")));
    cr_expect_eq(json_object_size(json_object_get(outer, "inner")), 0);
    cr_expect_eq(json_integer_value(json_object_get(object, "after")), 7);
    json_decref(object);
}
