// An inline variable with a destructor: every object that includes this has a copy, and the dynamic linker binds all
// of them to one (vague linkage; design rule 3). library_cxx's comes first in the search order, but library_vague is
// initialised first: it registers the destructor, with its own dso_handle, of an object in library_cxx's memory.
#ifndef DL_DEBUG_INLINE_VARIABLE_HPP
#define DL_DEBUG_INLINE_VARIABLE_HPP

#include "log.h"

namespace dl_debug {

class InlineVariable {
  public:
    ~InlineVariable() { log_ran("cxa_atexit", __PRETTY_FUNCTION__, nullptr, 0); }
};

inline InlineVariable inline_variable;

} // namespace dl_debug

#endif
