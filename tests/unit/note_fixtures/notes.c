/* Compiled as C and as C++: every sort of function that a note can name. No other destructors of its own. */
#include "ia2_exit.h"

#ifdef __cplusplus
namespace {
void hidden_by_namespace() {}
} // namespace
namespace outer {
void qualified();
void qualified() {}
} // namespace outer
IA2_EXIT_DESTRUCTOR(hidden_by_namespace, IA2_EXIT_PTHREAD_KEY, 6);
IA2_EXIT_DESTRUCTOR(outer::qualified, IA2_EXIT_THREAD_ATEXIT, 7);
#endif

void exported(void);
void exported(void) {}

__attribute__((visibility("hidden"))) void hidden(int status, void *argument);
void hidden(int status, void *argument) {
    (void)status;
    (void)argument;
}

static void local(void *argument) { (void)argument; }

__attribute__((noreturn, cold)) void attributed(void);
void attributed(void) { __builtin_trap(); }

enum { OWN = 3 };
IA2_EXIT_COMPARTMENT(OWN);
IA2_EXIT_DESTRUCTOR(exported, IA2_EXIT_ATEXIT, OWN);
IA2_EXIT_DESTRUCTOR(hidden, IA2_EXIT_ON_EXIT, 4095);
IA2_EXIT_DESTRUCTOR(local, IA2_EXIT_CXA_ATEXIT, OWN + 1);
IA2_EXIT_DESTRUCTOR(attributed, IA2_EXIT_QUICK_EXIT, 0);

IA2_SHARED_DATA static int shared_counter = 1;
int *counter(void);
int *counter(void) { return &shared_counter; }

#ifdef PROGRAM
int main(void) { return 0; }
#endif
