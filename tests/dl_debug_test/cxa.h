/* What compilers call and no header declares (Itanium C++ ABI, section 3.3.6; glibc, stdlib/cxa_thread_atexit_impl.c). */
#ifndef DL_DEBUG_CXA_H
#define DL_DEBUG_CXA_H

#ifdef __cplusplus
extern "C" {
#endif

/* Its address names the object that this is compiled into. */
extern void *__dso_handle __attribute__((visibility("hidden")));

int __cxa_atexit(void (*function)(void *), void *argument, void *dso);
void __cxa_finalize(void *dso);
int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *dso);

#ifdef __cplusplus
}
#endif

#endif
