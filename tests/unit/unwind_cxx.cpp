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
void *__libc_malloc(std::size_t size); /* glibc's own, which no sanitizer replaces */
void __libc_free(void *memory);

[[gnu::no_sanitize("address", "undefined")]] void ia2_test_terminate() { std::terminate(); }
[[gnu::no_sanitize("address", "undefined")]] void ia2_test_pure_virtual() { Derived object; }
[[gnu::no_sanitize("address", "undefined")]] void ia2_test_throw_from_destructor() { Throws object; }
[[gnu::no_sanitize("address", "undefined")]] void ia2_test_double_free() {
    void *memory = __libc_malloc(100);
    __libc_free(memory);
    __libc_free(memory);
}
[[gnu::no_sanitize("address", "undefined")]] void ia2_test_out_of_range() { std::string().at(1); }
}
