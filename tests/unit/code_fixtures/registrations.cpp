// Registrations that C++ compilers make for static and thread_local objects. The destructors of `Tracked<N>` are never
// inlined; what each object must give is listed in test_code_builds.py.
#include <cstdlib>
#include <string>

template <int number> struct Tracked {
    int value;
    __attribute__((noinline)) Tracked(int start) : value(start) { __asm__ volatile("" : : "r"(this) : "memory"); }
    __attribute__((noinline)) ~Tracked() { __asm__ volatile("" : : "r"(this), "r"(number) : "memory"); }
};

namespace {
Tracked<1> one(1);
Tracked<2> first_of_two(2), second_of_two(3);
Tracked<3> array[5] = {1, 2, 3, 4, 5};
struct Plain {
    ~Plain() { __asm__ volatile("" : : "r"(this) : "memory"); }
} plain;
} // namespace

inline Tracked<4> inline_variable(4);
template <int number> struct Holder {
    static Tracked<number> held;
};
template <int number> Tracked<number> Holder<number>::held(number);
std::string text = std::string(std::getenv("HOME") ? "home" : "none") + "a string that is too long to be kept inline";
thread_local Tracked<6> per_thread(6);
static thread_local Tracked<7> per_thread_again(7);

__attribute__((noinline)) int in_function(int start) {
    static Tracked<8> inside(start);
    return inside.value;
}

int use(int start) {
    std::atexit([] { __asm__ volatile("" : : "r"(9)); });
    thread_local Tracked<10> inside(start);
    return Holder<5>::held.value + per_thread.value + per_thread_again.value + in_function(start) + inside.value +
           static_cast<int>(text.size()) + inline_variable.value + array[start & 3].value;
}

#ifdef PROGRAM
int main(int count, char **) { return use(count); }
#endif
