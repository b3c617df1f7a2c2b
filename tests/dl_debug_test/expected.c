#include "expected.h"

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

const struct expected_object expected_objects[] = {
    {"main", "dl_debug_test", 1, "program", false},
    {"library", "libdl_debug_library.so", 2, "library", false},
    {"library_cxx", "libdl_debug_library_cxx.so", 3, "library_cxx", false},
    {"plugin_resident", "plugin_resident.so", 4, "plugin_resident", false},
    {"plugin_unloaded", "plugin_unloaded.so", 5, "plugin_unloaded", true},
};
const unsigned expected_object_count = COUNT_OF(expected_objects);

const struct expected_kind expected_kinds[] = {
    {"fini_array", "fini_array"},
    {"fini_array", "fini_array_101"},
    {"fini_array", "fini_array_102"},
    {"fini", "fini"},
    {"cxa_atexit", "cxa_atexit"},
    {"cxa_atexit", "noted"},
    {"cxa_atexit", "stray"}, /* registered by stray.c only */
    {"atexit", "atexit"},
    {"on_exit", "on_exit"},
    {"quick_exit", "quick_exit"},
    {"thread_atexit", "thread_atexit"},
    {"pthread_key", "pthread_key"},
};
const unsigned expected_kind_count = COUNT_OF(expected_kinds);

const struct expected_destructor expected_others[] = {
    /* library_cxx.cpp, inline_variable.hpp: library_vague registers the destructor too, and is bound to this copy */
    {"libdl_debug_library_cxx.so", "cxa_atexit", "_ZN8dl_debug14NamespaceScopeD1Ev", 3},
    {"libdl_debug_library_cxx.so", "cxa_atexit", "_ZN8dl_debug13FunctionLocalD1Ev", 3},
    {"libdl_debug_library_cxx.so", "cxa_atexit", "_ZN8dl_debug14InlineVariableD1Ev", 3},
    {"libdl_debug_library_cxx.so", "thread_atexit", "_ZN8dl_debug11ThreadLocalD1Ev", 3},
    {"libdl_debug_library_cxx.so", "atexit", "library_cxx_exiting", 3},
    /* scenarios*.c */
    {"dl_debug_test", "atexit", "exiting_handler", 1},
    {"dl_debug_test", "atexit", "late_atexit", 1},
    {"dl_debug_test", "atexit", "registering_handler", 1},
    {"dl_debug_test", "atexit", "unloading_handler", 1},
    {"dl_debug_test", "atexit", "finalizing_handler", 1},
    {"dl_debug_test", "on_exit", "late_on_exit", 1},
    {"dl_debug_test", "cxa_atexit", "late_cxa_atexit", 1},
    {"dl_debug_test", "cxa_atexit", "lent_to_library", 1},
    {"dl_debug_test", "cxa_atexit", "without_object", 1},
    {"dl_debug_test", "pthread_key", "again_destructor", 1},
    {"dl_debug_test", "pthread_key", "never_called", 1},
    {"libdl_debug_library.so", "on_exit", "library_borrowed_on_exit", 2}, /* registered by the program */
    /* what the compiler's start files give every object: it calls __cxa_finalize */
    {"dl_debug_test", "fini_array", "__do_global_dtors_aux", 1},
    {"libdl_debug_library.so", "fini_array", "__do_global_dtors_aux", 2},
    {"libdl_debug_library_cxx.so", "fini_array", "__do_global_dtors_aux", 3},
    {"plugin_resident.so", "fini_array", "__do_global_dtors_aux", 4},
    {"plugin_unloaded.so", "fini_array", "__do_global_dtors_aux", 5},
    {"libdl_debug_library_vague.so", "fini_array", "__do_global_dtors_aux", 6},
    {"libdl_debug_library_vague.so", "fini", "_fini", 6},
    {"libdl_debug_log.so", "fini_array", "__do_global_dtors_aux", 0},
    {"libdl_debug_log.so", "fini", "_fini", 0},
};
const unsigned expected_other_count = COUNT_OF(expected_others);
