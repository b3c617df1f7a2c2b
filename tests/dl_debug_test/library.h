/* What the program calls in the libraries that it is linked with. */
#ifndef DL_DEBUG_LIBRARY_H
#define DL_DEBUG_LIBRARY_H

/* destructors.h in library.c and library_cxx.cpp. */
void library_register(void);
void library_register_in_thread(void);
void library_cxx_register(void);
void library_cxx_register_in_thread(void);

/* destructors.h in library.c: its own memory. */
void *library_memory(void);

/* library_cxx.cpp: constructs the function-local static (once), the calling thread's thread_local. */
void library_cxx_construct(void);
void library_cxx_construct_in_thread(void);

/* library_vague.cpp: 1 if the inline variable that it uses is the copy in library_cxx. */
int library_vague_shares(const void *copy_of_library_cxx);
const void *library_cxx_inline_variable(void);

/* library_cxx.cpp: a handler that calls exit(14). */
void library_cxx_register_exiting(void);

/* library.c: another object's names, and its memory, for use in a registration by the program. */
void *library_dso_handle(void);
void library_borrowed(void *argument);
void library_borrowed_on_exit(int status, void *argument);

#endif
