#include "secret.h"

#include <sys/auxv.h>
#include <sys/random.h>

#include "siphash.h"
#include "system.h"
#include "vault.h"

uint64_t ia2_secret[2] IA2_VAULT = {0, 0};
uint64_t ia2_record_key[IA2_RECORD_WORDS] IA2_VAULT = {0};

/* The 16 bytes of AT_RANDOM serve libc for its stack canary and pointer guard, which leak with any stack: they are a key here, not
 * the result. Time and addresses tell two processes apart where even AT_RANDOM should be the same. */
void ia2_secret_fallback(uint64_t key[2]) {
    const uint8_t *bytes = (const void *)getauxval(AT_RANDOM); /* at any alignment */
    uint64_t given[2] = {0, 0};
    for (unsigned i = 0; bytes && i < sizeof given; i++) {
        given[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
    }
    uint64_t varying[4] = {ia2_now(), (uintptr_t)&varying, (uintptr_t)&ia2_secret, (uint64_t)ia2_getpid() << 1};
    key[0] = ia2_siphash(given, varying, sizeof varying);
    varying[3] |= 1;
    key[1] = ia2_siphash(given, varying, sizeof varying);
}

void ia2_secret_make(void) {
    /* Without waiting: early in the boot of a machine the kernel may have nothing to give for minutes. */
    long got = ia2_syscall3(SYS_getrandom, (long)ia2_secret, sizeof ia2_secret, GRND_NONBLOCK);
    if (got != (long)sizeof ia2_secret) {
        ia2_secret_fallback(ia2_secret);
    }
    for (uint64_t i = 0; i < IA2_RECORD_WORDS; i++) {
        ia2_record_key[i] = ia2_siphash(ia2_secret, &i, sizeof i);
    }
}
