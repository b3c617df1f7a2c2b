/* What the environment asks for, read once at start. A process with AT_SECURE set ignores every IA2_* variable. */
#ifndef IA2_CONFIG_H
#define IA2_CONFIG_H

#include <stdbool.h>

/* The texts are the environment's own memory, which a program may overwrite later (setproctitle): copy what must last. */
struct ia2_config {
    const char *trace;   /* IA2_TRACE_EXIT: "" (off), "1", "fd:N" or a path */
    const char *diag;    /* IA2_DIAG_EXIT, likewise */
    const char *map;     /* IA2_EXIT_MAP: path of a binary exit map, or "" */
    const char *mode;    /* IA2_EXIT_MODE, or "" */
    const char *backend; /* IA2_EXIT_BACKEND, or "" */
    bool allow_all;      /* IA2_EXIT_ALLOW_ALL=1 */
    bool legacy;         /* IA2_EXIT_FORCE_LEGACY=1 */
    bool park;           /* IA2_EXIT_PARK_THREADS=1 */
    bool audit;          /* IA2_EXIT_AUDIT=1: libia2_audit.so is expected to be there */
    bool follow;         /* IA2_EXIT_FOLLOW=1: children are covered too */
    bool secure;         /* AT_SECURE: setuid, setgid or file capabilities */
};

extern struct ia2_config ia2_config;

/* Reads the variables and takes what is ours out of the environment of the program (its own entries of LD_PRELOAD and LD_AUDIT stay).
 * Only from the constructor, before any other thread exists: it edits `envp` in place. */
void ia2_config_read(char **envp);

#endif
