// Compartment 6: a second C++ library, which shares an inline variable with library_cxx.
#include "ia2_exit.h"
#include "inline_variable.hpp"

IA2_EXIT_COMPARTMENT(6);

extern "C" int library_vague_shares(const void *copy_of_library_cxx) {
    return &dl_debug::inline_variable == copy_of_library_cxx;
}
