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
    } else if ((value = value_of(entry, "IA2_EXIT_FOLLOW"))) {
        ia2_config.follow = ia2_equal(value, "1");
    }
}

static bool is_separator(char c) { return c == ':' || c == ' '; }

/* Takes every libia2.so out of the value of LD_PRELOAD. Returns whether anything is left. */
static bool without_us(char *value) {
    char *to = value;
    for (char *from = value; *from;) {
        if (is_separator(*from)) {
            from++;
            continue;
        }
        size_t length = 0;
        while (from[length] && !is_separator(from[length])) {
            length++;
        }
        char *base = from;
        for (char *at = from; at < from + length; at++) {
            if (*at == '/') {
                base = at + 1;
            }
        }
        bool ours = (size_t)(from + length - base) == sizeof "libia2.so" - 1 && ia2_starts_with(base, "libia2.so");
        if (!ours) {
            if (to != value) {
                *to++ = ':';
            }
            for (size_t i = 0; i < length; i++) {
                *to++ = from[i];
            }
        }
        from += length;
    }
    bool any = to != value;
    if (any) {
        /* `to` never overtakes `from`; the rest of the old value becomes NULs, which ends the string here. */
        while (*to) {
            *to++ = '\0';
        }
    }
    return any;
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
        char *preload = value_of(*at, "LD_PRELOAD");
        bool drop = (preload && !without_us(preload)) || (scrub && ia2_starts_with(*at, "IA2_"));
        if (!drop) {
            *to++ = *at;
        }
    }
    *to = NULL;
}
