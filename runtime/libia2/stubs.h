/* Tables of identical stubs for callbacks that get no argument of ours (stubs.S): entry i passes i on. */
#ifndef IA2_STUBS_H
#define IA2_STUBS_H

#define IA2_STUB_SIZE 16
#define IA2_FINI_STUBS 4096 /* = IA2_MAX_OBJECTS */
#define IA2_INIT_STUBS 4096 /* the same */
#define IA2_KEY_STUBS 1024  /* = PTHREAD_KEYS_MAX */
#define IA2_QUICK_STUBS 256

#ifndef __ASSEMBLER__

#include <stdint.h>

extern const char ia2_fini_stubs[];
extern const char ia2_init_stubs[];
extern const char ia2_key_stubs[];
extern const char ia2_quick_stubs[];

static inline uintptr_t ia2_fini_stub(uint32_t i) { return (uintptr_t)ia2_fini_stubs + i * IA2_STUB_SIZE; }
static inline uintptr_t ia2_init_stub(uint32_t i) { return (uintptr_t)ia2_init_stubs + i * IA2_STUB_SIZE; }
static inline uintptr_t ia2_key_stub(uint32_t i) { return (uintptr_t)ia2_key_stubs + i * IA2_STUB_SIZE; }
static inline uintptr_t ia2_quick_stub(uint32_t i) { return (uintptr_t)ia2_quick_stubs + i * IA2_STUB_SIZE; }

/* A function that does nothing: what DT_FINI points to while it is taken over together with an array. */
void ia2_nothing(void);

#endif
#endif
