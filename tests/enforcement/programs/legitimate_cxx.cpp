// liblegitimate_cxx.so: what C++ does in destructors, by way of libstdc++ and with a copy of std::cout in the program.
#include <iostream>
#include <locale>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "legitimate.h"

namespace {

struct Base {
    virtual ~Base() = default;
    virtual const char *name() const = 0;
};

struct Derived : Base {
    const char *name() const override { return "derived"; }
};

std::map<std::string, std::vector<int>> own_map;
std::string own_string = "a string that is too long for the small buffer inside the object";

void prints() {
    std::cout << "to std::cout: " << 42 << ' ' << 1.5 << ' ' << std::hex << 255 << std::dec << std::endl;
    std::cerr << "to std::cerr: " << own_string << '\n';
    std::clog << "to std::clog\n";
}

void throws() {
    try {
        own_map.at("nothing");
    } catch (const std::out_of_range &) {
        std::cout << "caught from libstdc++\n";
    }
    try {
        throw std::runtime_error(own_string);
    } catch (const std::exception &error) {
        std::cout << "caught: " << error.what() << '\n';
    }
}

void containers() {
    own_map["numbers"].assign(1000, 7);
    own_map["more"] = {1, 2, 3};
    std::ostringstream text;
    for (const auto &[name, numbers] : own_map)
        text << name << '=' << numbers.size() << ' ';
    std::cout << text.str() << '\n';
}

void types() {
    const Base *base = new Derived;
    std::cout << base->name() << ' ' << (dynamic_cast<const Derived *>(base) != nullptr) << ' ' << std::locale().name()
              << '\n';
    delete base;
}

struct Scenario {
    const char *name;
    void (*run)();
};

const Scenario scenarios[] = {{"prints", prints}, {"throws", throws}, {"containers", containers}, {"types", types}};

// A static object: registered by the compiler, with this library's handle.
struct Runner {
    const Scenario *scenario = nullptr;
    ~Runner() {
        if (scenario != nullptr)
            scenario->run();
    }
} runner;

} // namespace

int legitimate_cxx_register(const char *scenario) {
    for (const Scenario &one : scenarios)
        if (std::string(one.name) == scenario) {
            runner.scenario = &one;
            return 0;
        }
    return -1;
}
