/* Ends of C++ programs, for unwind.c: each raises SIGABRT somewhere in libstdc++ or libc. */
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

struct Base {
    Base();
    virtual ~Base() = default;
    virtual void pure() = 0;
};

[[gnu::noinline]] void call(Base &object) { object.pure(); }

Base::Base() { call(*this); } /* its table is still Base's own */

struct Derived : Base {
    void pure() override {}
};

[[gnu::noinline]] void fail() { throw std::runtime_error("from a destructor"); }

struct Throws {
    ~Throws() { fail(); }
};

} // namespace

extern "C" {
void ia2_test_terminate() { std::terminate(); }
void ia2_test_pure_virtual() { Derived object; }
void ia2_test_throw_from_destructor() { Throws object; }
void ia2_test_double_free() {
    void *volatile memory = std::malloc(100);
    std::free(memory);
    std::free(memory);
}
void ia2_test_out_of_range() { std::string().at(1); }
}
