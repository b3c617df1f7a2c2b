/* The file of a binary exit map: which are refused before their contents count, and that no damage goes unnoticed. */
#include "map.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map_builder.h"

TestSuite(map, .timeout = 50);

static struct map_file file;

static void check_refused(const char *wrong, const char *part) {
    cr_expect_not_null(wrong, "accepted; expected: %s", part);
    if (wrong) {
        cr_expect_not_null(strstr(wrong, part), "%s; expected: %s", wrong, part);
    }
    cr_expect_not(ia2_map_loaded());
}

/* ---- files that are no maps ---- */

Test(map, a_valid_map_is_loaded) {
    map_build(&file);
    cr_expect_geq(file.size, 3000u, "a map of realistic size: %zu bytes", file.size);
    cr_expect_null(map_load(file.bytes, file.size));
    cr_expect(ia2_map_loaded());
}

Test(map, a_file_that_cannot_be_used_is_refused) {
    check_refused(ia2_map_load("/nonexistent/map"), "cannot be opened");
    check_refused(ia2_map_load(""), "cannot be opened");
    check_refused(ia2_map_load("/dev/null"), "empty");
    check_refused(ia2_map_load("/"), "cannot be read");
    check_refused(ia2_map_load("/proc/self/exe"), "not a binary exit map");
    check_refused(map_load("", 0), "empty");
}

Test(map, a_fifo_is_refused_without_waiting_for_a_writer) {
    char folder[] = "/tmp/mapXXXXXX";
    char path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    const char *wrong = ia2_map_load(path);
    unlink(path);
    rmdir(folder);
    check_refused(wrong, "empty");
}

Test(map, a_file_of_many_gigabytes_is_refused_unread) {
    int fd = memfd_create("map", 0);
    char path[32];
    cr_assert_eq(ftruncate(fd, 5l << 31), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_refused(ia2_map_load(path), "too large");
}

Test(map, a_refused_map_leaves_no_descriptor_and_no_mapping) {
    map_build(&file);
    int before = dup(0);
    close(before);
    for (int i = 0; i < 3; i++) {
        check_refused(map_load(file.bytes, file.size - 1), "cut short");
    }
    cr_expect_null(map_load(file.bytes, file.size));
    int after = dup(0);
    cr_expect_eq(after, before);
}

/* ---- damage: every bit, every length ---- */

/* What the check must say of a change in the byte at `offset`. */
static const char *complaint(size_t offset) {
    if (offset < offsetof(struct ia2_map_header, version)) {
        return "not a binary exit map";
    }
    if (offset < offsetof(struct ia2_map_header, total_size)) {
        return "another version";
    }
    return offset < offsetof(struct ia2_map_header, checksum) ? "cut short" : "checksum";
}

Test(map, every_single_bit_flip_is_refused) {
    map_build(&file);
    int fd = memfd_create("map", 0);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    cr_assert_eq(write(fd, file.bytes, file.size), (ssize_t)file.size);
    for (size_t at = 0; at < file.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            unsigned char flipped = file.bytes[at] ^ (unsigned char)(1u << bit);
            cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
            const char *wrong = ia2_map_load(path);
            cr_assert(wrong && strstr(wrong, complaint(at)), "byte %zu, bit %d: %s", at, bit, wrong ? wrong : "taken");
        }
        cr_assert_eq(pwrite(fd, &file.bytes[at], 1, (off_t)at), 1);
    }
    cr_expect_null(ia2_map_load(path), "all bits are back");
}

Test(map, every_truncation_is_refused) {
    map_build(&file);
    for (size_t size = 0; size < file.size; size++) {
        const char *wrong = map_load(file.bytes, size);
        const char *expected = size == 0 ? "empty" : size < sizeof file.header ? "not a binary exit map" : "cut short";
        cr_assert(wrong && strstr(wrong, expected), "%zu bytes: %s", size, wrong ? wrong : "taken");
    }
}

/* The same where the header has been made to agree with what is left. */
Test(map, every_truncation_with_a_matching_header_is_refused) {
    for (size_t size = sizeof file.header;; size++) {
        map_build(&file);
        size_t whole = file.size;
        if (size >= whole) {
            break;
        }
        file.size = file.header.total_size = size;
        map_seal(&file);
        const char *wrong = map_load(file.bytes, size);
        const char *expected = size % 8 ? "cut short" : "a table that is not where it belongs";
        cr_assert(wrong && strstr(wrong, expected), "%zu bytes: %s", size, wrong ? wrong : "taken");
    }
}

Test(map, something_behind_the_map_is_refused) {
    map_build(&file);
    for (size_t more = 1; more <= 16; more++) {
        check_refused(map_load(file.bytes, file.size + more), "cut short or has something behind it");
    }
}

Test(map, another_version_is_refused_whatever_its_checksum) {
    map_build(&file);
    file.header.version = IA2_MAP_VERSION + 1;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "another version");
    map_build(&file);
    file.header.header_size += 8;
    map_seal(&file);
    check_refused(map_load(file.bytes, file.size), "another version");
}
