// Compartment 3: a C++ library that the program is linked with.
#define OBJECT library_cxx
#define COMPARTMENT 3
#include "destructors.h"

#include "inline_variable.hpp"

namespace dl_debug {

// Each class has one object, so that the name of the destructor tells which one is destroyed.
class NamespaceScope {
  public:
    ~NamespaceScope();
};

class FunctionLocal {
  public:
    ~FunctionLocal();
};

class ThreadLocal {
  public:
    ThreadLocal() : constructed(true) {}
    ~ThreadLocal();

    bool constructed;
};

NamespaceScope::~NamespaceScope() { log_ran("cxa_atexit", __PRETTY_FUNCTION__, nullptr, 0); }

FunctionLocal::~FunctionLocal() { log_ran("cxa_atexit", __PRETTY_FUNCTION__, nullptr, 0); }

ThreadLocal::~ThreadLocal() { log_ran("thread_atexit", __PRETTY_FUNCTION__, "constructed", constructed); }

static NamespaceScope namespace_scope;
static thread_local ThreadLocal in_thread;

} // namespace dl_debug

extern "C" {

void library_cxx_construct(void) { static dl_debug::FunctionLocal function_local; }

void library_cxx_construct_in_thread(void) { log_step("thread_local_constructed", dl_debug::in_thread.constructed); }

static void library_cxx_exiting(void) {
    log_ran("atexit", __func__, nullptr, 0);
    exit(14);
}

void library_cxx_register_exiting(void) {
    log_registered("atexit", "library_cxx_exiting", atexit(library_cxx_exiting));
}

const void *library_cxx_inline_variable(void) { return &dl_debug::inline_variable; }
}
