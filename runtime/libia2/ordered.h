/* What happens under ld.so's lock of loading, or before it counts down the thread-local destructors of an object with release order
 * (stdlib/cxa_thread_atexit_impl.c), comes before whatever a thread does that unloads the object. ThreadSanitizer does not see ld.so's
 * locks: a build with it is told here. Otherwise nothing. */
#ifndef IA2_ORDERED_H
#define IA2_ORDERED_H

#include <stdatomic.h>

#ifdef __SANITIZE_THREAD__
extern _Atomic unsigned ia2_ordered_by_loader;
/* The calling thread has run a destructor, or is about to redirect an object, and ld.so will know of it. */
static inline void ia2_ordered_before(void) {
    atomic_fetch_add_explicit(&ia2_ordered_by_loader, 1, memory_order_release);
}
/* The calling thread has seen what ld.so has unloaded, or follows its pointers. */
static inline void ia2_ordered_after(void) { (void)atomic_load_explicit(&ia2_ordered_by_loader, memory_order_acquire); }
#else
static inline void ia2_ordered_before(void) {}
static inline void ia2_ordered_after(void) {}
#endif

#endif
