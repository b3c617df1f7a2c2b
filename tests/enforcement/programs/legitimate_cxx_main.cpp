// `legitimate_cxx_main SCENARIO`: std::cout and std::cerr are copied into this program's .bss, beside its own data.
#include <iostream>
#include <string>

#include "legitimate.h"

namespace {

std::string own = "the program's own string, longer than the small buffer";

struct Last {
    ~Last() { std::cout << "main: " << own << std::endl; }
} last;

} // namespace

int main(int argc, char **argv) {
    std::cout << "main to std::cout\n";
    std::cerr << "main to std::cerr\n";
    if (argc < 2 || legitimate_cxx_register(argv[1]) != 0)
        return 97;
    return 7;
}
