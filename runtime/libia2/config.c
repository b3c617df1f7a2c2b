#include "config.h"

#include <sys/auxv.h>

#include "system.h"

struct ia2_config ia2_config = {.trace = "", .diag = "", .map = "", .mode = "", .backend = ""};

/* The value of `name` if `entry` is "name=value", else NULL. */
static char *value_of(char *entry, const char *name) {
    size_t length = ia2_length(name);
    return ia2_starts_with(entry, name) && entry[length] == '=' ? entry + length + 1 : NULL;
}

static void read_variable(char *entry) {
    const char *value;
    if ((value = value_of(entry, "IA2_TRACE_EXIT"))) {
        ia2_config.trace = ia2_equal(value, "0") ? "" : value;
    } else if ((value = value_of(entry, "IA2_DIAG_EXIT"))) {
        ia2_config.diag = ia2_equal(value, "0") ? "" : value;
    } else if ((value = value_of(entry, "IA2_EXIT_MAP"))) {
        ia2_config.map = value;
    } else if ((value = value_of(entry, "IA2_EXIT_MODE"))) {
        ia2_config.mode = value;
    } else if ((value = value_of(entry, "IA2_EXIT_BACKEND"))) {
        ia2_config.backend = value;
    } else if ((value = value_of(entry, "IA2_EXIT_ALLOW_ALL"))) {
        ia2_config.allow_all = ia2_equal(value, "1");
    } else if ((value = value_of(entry, "IA2_EXIT_FORCE_LEGACY"))) {
        ia2_config.legacy = ia2_equal(value, "1");
    } else if ((value = value_of(entry, "IA2_EXIT_PARK_THREADS"))) {
        ia2_config.park = ia2_equal(value, "1");
    } else if ((value = value_of(entry, "IA2_EXIT_AUDIT"))) {
        ia2_config.audit = ia2_equal(value, "1");
    } else if ((value = value_of(entry, "IA2_EXIT_FOLLOW"))) {
        ia2_config.follow = ia2_equal(value, "1");
    }
}

/* A variable with a list of objects for ld.so (ld.so(8)), and which of them is ours, in whichever folder. */
struct list {
    const char *variable;
    const char *ours;
    const char *separators;
};

static const struct list lists[] = {{"LD_PRELOAD", "libia2.so", ": "}, {"LD_AUDIT", "libia2_audit.so", ":"}};

static bool is_separator(const struct list *list, char c) {
    return c != '\0' && (c == list->separators[0] || c == list->separators[1]);
}

/* Length of the entry at `at`. */
static size_t entry_length(const struct list *list, const char *at) {
    size_t length = 0;
    while (at[length] && !is_separator(list, at[length])) {
        length++;
    }
    return length;
}

static bool is_ours(const struct list *list, const char *at, size_t length) {
    const size_t size = ia2_length(list->ours);
    const char *base = at + length - size;
    return length >= size && ia2_starts_with(base, list->ours) && (base == at || base[-1] == '/');
}

/* Takes `length` characters out at `at`; what becomes free at the end is NULs, so that nothing of us is left behind the value. */
static void cut(char *at, size_t length) {
    char *to = at;
    for (char *from = at + length; *from; from++) {
        *to++ = *from;
    }
    while (*to) {
        *to++ = '\0';
    }
}

static bool names_anything(const struct list *list, const char *value) {
    while (is_separator(list, *value)) {
        value++;
    }
    return *value != '\0';
}

/* Takes every entry of ours, each with one separator, out of the value; the rest stays to the letter. Returns false when nothing but us
 * was in it. */
static bool without_us(const struct list *list, char *value) {
    bool found = false;
    for (char *at = value; *at;) {
        size_t length = entry_length(list, at);
        if (!is_ours(list, at, length)) {
            at += length + (at[length] != '\0');
            continue;
        }
        found = true;
        bool last = at[length] == '\0';
        if (last && at > value) {
            at--; /* the last entry takes the separator before it along */
        }
        cut(at, last && at[length] != '\0' ? length + 1 : length + !last);
    }
    return !found || names_anything(list, value);
}

static bool only_loads_us(char *entry) {
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        char *value = value_of(entry, lists[i].variable);
        if (value) {
            return !without_us(&lists[i], value);
        }
    }
    return false;
}

void ia2_config_read(char **envp) {
    ia2_config.secure = getauxval(AT_SECURE) != 0;
    if (!envp || ia2_config.secure) {
        return;
    }
    bool scrub = false;
    for (char **at = envp; *at; at++) {
        if (ia2_starts_with(*at, "IA2_")) {
            read_variable(*at);
            const char *value = value_of(*at, "IA2_EXIT_SCRUB");
            scrub = scrub || (value && ia2_equal(value, "1"));
        }
    }
    if (ia2_config.follow) {
        return;
    }
    char **to = envp;
    for (char **at = envp; *at; at++) {
        bool drop = only_loads_us(*at) || (scrub && ia2_starts_with(*at, "IA2_"));
        if (!drop) {
            *to++ = *at;
        }
    }
    *to = NULL;
}
