/* What the environment asks for, and what is left of it for the program. */
#include "config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define MOST 16

/* An environment that may be edited in place, as the kernel hands it over. */
static char texts[MOST][512];
static char *environment[MOST + 1];

static void read_environment(const char *const *entries) {
    size_t count = 0;
    for (; entries[count]; count++) {
        cr_assert_lt(count, MOST);
        snprintf(texts[count], sizeof texts[count], "%s", entries[count]);
        environment[count] = texts[count];
    }
    environment[count] = NULL;
    ia2_config_read(environment);
}

#define READ(...) read_environment((const char *const[]){__VA_ARGS__, NULL})

static void check_left(const char *const *expected) {
    size_t i = 0;
    for (; expected[i] && environment[i]; i++) {
        cr_expect_str_eq(environment[i], expected[i], "entry %zu: %s, expected %s", i, environment[i], expected[i]);
    }
    cr_expect_null(expected[i], "missing: %s", expected[i]);
    cr_expect_null(environment[i], "too many: %s", environment[i]);
}

#define LEFT(...) check_left((const char *const[]){__VA_ARGS__, NULL})

Test(config, without_variables_everything_is_off) {
    READ("HOME=/root", "PATH=/bin");
    cr_expect_str_empty(ia2_config.trace);
    cr_expect_str_empty(ia2_config.diag);
    cr_expect_str_empty(ia2_config.map);
    cr_expect_str_empty(ia2_config.mode);
    cr_expect_str_empty(ia2_config.backend);
    cr_expect_not(ia2_config.follow);
    cr_expect_not(ia2_config.secure);
    LEFT("HOME=/root", "PATH=/bin");
}

Test(config, every_variable_is_read) {
    READ("IA2_TRACE_EXIT=fd:7", "IA2_DIAG_EXIT=/tmp/d", "IA2_EXIT_MAP=/tmp/m=1", "IA2_EXIT_MODE=observe",
         "IA2_EXIT_BACKEND=none", "IA2_EXIT_FOLLOW=1");
    cr_expect_str_eq(ia2_config.trace, "fd:7");
    cr_expect_str_eq(ia2_config.diag, "/tmp/d");
    cr_expect_str_eq(ia2_config.map, "/tmp/m=1", "a value may hold an equals sign");
    cr_expect_str_eq(ia2_config.mode, "observe");
    cr_expect_str_eq(ia2_config.backend, "none");
    cr_expect(ia2_config.follow);
}

Test(config, zero_turns_a_sink_off) {
    READ("IA2_TRACE_EXIT=0", "IA2_DIAG_EXIT=0", "IA2_EXIT_FOLLOW=0");
    cr_expect_str_empty(ia2_config.trace);
    cr_expect_str_empty(ia2_config.diag);
    cr_expect_not(ia2_config.follow);
}

Test(config, names_must_match_whole) {
    READ("IA2_TRACE_EXIT_NOT=1", "IA2_TRACE_EXI=1", "XIA2_TRACE_EXIT=1", "IA2_DIAG_EXIT", "IA2_EXIT_FOLLOWING=1",
         "ia2_exit_map=/m");
    cr_expect_str_empty(ia2_config.trace);
    cr_expect_str_empty(ia2_config.diag);
    cr_expect_str_empty(ia2_config.map);
    cr_expect_not(ia2_config.follow);
}

Test(config, our_variables_stay_for_the_children_by_default) {
    READ("A=1", "IA2_TRACE_EXIT=1", "B=2", "IA2_OTHER=3");
    LEFT("A=1", "IA2_TRACE_EXIT=1", "B=2", "IA2_OTHER=3");
}

Test(config, scrub_removes_every_variable_of_ours_and_keeps_the_order) {
    READ("IA2_FIRST=0", "A=1", "IA2_EXIT_SCRUB=1", "B=2", "IA2_TRACE_EXIT=/t", "LD_PRELOAD=/x/libia2.so",
         "IA2_EXIT_MAP=/m", "C=IA2_EXIT_SCRUB=1", "IA2=kept", "IA2_", "NOEQUALS", "IA2_LAST=9");
    LEFT("A=1", "B=2", "C=IA2_EXIT_SCRUB=1", "IA2=kept", "NOEQUALS");
    cr_expect_str_eq(ia2_config.trace, "/t", "what was read stays readable");
    cr_expect_str_eq(ia2_config.map, "/m");
}

Test(config, scrub_must_be_one) {
    READ("IA2_EXIT_SCRUB=0", "IA2_TRACE_EXIT=1");
    LEFT("IA2_EXIT_SCRUB=0", "IA2_TRACE_EXIT=1");
}

Test(config, follow_leaves_everything) {
    READ("LD_PRELOAD=/x/libia2.so:/y/liby.so", "IA2_EXIT_FOLLOW=1", "IA2_EXIT_SCRUB=1", "A=1");
    LEFT("LD_PRELOAD=/x/libia2.so:/y/liby.so", "IA2_EXIT_FOLLOW=1", "IA2_EXIT_SCRUB=1", "A=1");
}

/* ---- LD_PRELOAD: only our own entry goes, wherever it stands ---- */

static void check_preload(const char *value, const char *expected) {
    char given[256];
    char left[256];
    snprintf(given, sizeof given, "LD_PRELOAD=%s", value);
    READ("A=1", given, "B=2");
    if (!expected) {
        LEFT("A=1", "B=2");
        return;
    }
    snprintf(left, sizeof left, "LD_PRELOAD=%s", expected);
    LEFT("A=1", left, "B=2");
}

Test(config, the_only_entry) {
    check_preload("libia2.so", NULL);
    check_preload("/opt/x/libia2.so", NULL);
    check_preload("/opt/libia2.so/libia2.so", NULL);
    check_preload("/opt/x/libia2.so:", NULL);
    check_preload(" : /opt/x/libia2.so :: ", NULL);
    check_preload("/a/libia2.so:/b/libia2.so", NULL);
}

Test(config, the_first_middle_and_last_entry) {
    check_preload("/x/libia2.so:/y/liby.so", "/y/liby.so");
    check_preload("/y/liby.so:/x/libia2.so", "/y/liby.so");
    check_preload("/y/liby.so:/x/libia2.so:/z/libz.so", "/y/liby.so:/z/libz.so");
    check_preload("libia2.so:a:libia2.so:b:libia2.so", "a:b");
}

Test(config, spaces_separate_too) {
    check_preload("/y/liby.so /x/libia2.so /z/libz.so", "/y/liby.so /z/libz.so");
    check_preload("/x/libia2.so /y/liby.so", "/y/liby.so");
}

Test(config, similar_names_stay) {
    check_preload("libia2.so.bak", "libia2.so.bak");
    check_preload("/x/mylibia2.so", "/x/mylibia2.so");
    check_preload("/x/libia2.so/", "/x/libia2.so/");
    check_preload("/x/libia2.so/liby.so", "/x/libia2.so/liby.so");
    check_preload("libia2_audit.so", "libia2_audit.so");
    check_preload("libia2.so.bak:/x/libia2.so:/x/mylibia2.so", "libia2.so.bak:/x/mylibia2.so");
}

Test(config, a_value_without_us_stays_to_the_letter) {
    check_preload("", "");
    check_preload("/y/liby.so /z/libz.so", "/y/liby.so /z/libz.so");
    check_preload(":/y/liby.so::/z/libz.so:", ":/y/liby.so::/z/libz.so:");
}

Test(config, other_variables_are_not_taken_for_it) {
    READ("LD_PRELOAD_32=/x/libia2.so", "MY_LD_PRELOAD=/x/libia2.so", "LD_PRELOAD");
    LEFT("LD_PRELOAD_32=/x/libia2.so", "MY_LD_PRELOAD=/x/libia2.so", "LD_PRELOAD");
}

Test(config, a_second_ld_preload_is_cleaned_too) {
    READ("LD_PRELOAD=/x/libia2.so", "LD_PRELOAD=/x/libia2.so:/y/liby.so");
    LEFT("LD_PRELOAD=/y/liby.so");
}

/* ---- LD_AUDIT: the same, with colons only ---- */

Test(config, the_audit_module_goes_and_other_modules_stay) {
    READ("LD_AUDIT=/x/libia2_audit.so", "LD_PRELOAD=/x/libia2.so", "A=1");
    LEFT("A=1");
    READ("LD_AUDIT=/y/other.so:/x/libia2_audit.so", "A=1");
    LEFT("LD_AUDIT=/y/other.so", "A=1");
    READ("LD_AUDIT=libia2_audit.so:/y/a file of mine.so", "A=1");
    LEFT("LD_AUDIT=/y/a file of mine.so", "A=1");
    READ("LD_AUDIT=/y/a libia2_audit.so", "A=1");
    LEFT("LD_AUDIT=/y/a libia2_audit.so", "A=1");
    READ("LD_AUDIT=/x/libia2.so", "LD_PRELOAD=/x/libia2_audit.so", "A=1");
    LEFT("LD_AUDIT=/x/libia2.so", "LD_PRELOAD=/x/libia2_audit.so", "A=1");
}

Test(config, follow_leaves_the_audit_module_to_children) {
    READ("LD_AUDIT=/x/libia2_audit.so", "IA2_EXIT_FOLLOW=1", "IA2_EXIT_AUDIT=1");
    LEFT("LD_AUDIT=/x/libia2_audit.so", "IA2_EXIT_FOLLOW=1", "IA2_EXIT_AUDIT=1");
    cr_expect(ia2_config.audit);
}

/* setproctitle() and the like read the old text to its NUL: nothing of us may be left behind it. */
Test(config, nothing_is_left_behind_the_shortened_value) {
    READ("LD_PRELOAD=/y/liby.so:/x/libia2.so:/z/libz.so", "Z=1");
    const char *value = texts[0] + strlen("LD_PRELOAD=");
    cr_assert_str_eq(value, "/y/liby.so:/z/libz.so");
    for (size_t i = strlen(value); i < strlen("/y/liby.so:/x/libia2.so:/z/libz.so"); i++) {
        cr_expect_eq(value[i], '\0');
    }
}

Test(config, an_empty_or_missing_environment_is_fine) {
    char *none[] = {NULL};
    ia2_config_read(none);
    cr_expect_null(none[0]);
    ia2_config_read(NULL);
    cr_expect_str_empty(ia2_config.trace);
}
