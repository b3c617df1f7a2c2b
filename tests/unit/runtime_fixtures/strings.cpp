// A library whose static object has its destructor in libstdc++.
#include <cstdlib>
#include <string>

extern "C" int plugin_answer();

static std::string text(std::getenv("PATH") ? "long enough to be on the heap, whatever the library does" : "");

extern "C" int plugin_answer() { return text.empty() ? 0 : 42; }
