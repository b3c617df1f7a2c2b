/* libvictim.so: secrets in .data and .bss, and a shared page that .bss follows (-Wl,-T,ia2_shared.ld). */
#include "ia2_exit_note.h"
#include "say.h"
#include "secret.h"

static char data_secret[SECRET_ROOM] = SECRET;
static char bss_secret[SECRET_ROOM];
IA2_SHARED_DATA static char shared_page[4096] __attribute__((aligned(4096)));

__attribute__((constructor)) static void fill(void) {
    memcpy(bss_secret, SECRET, sizeof SECRET);
    memset(shared_page, 's', sizeof shared_page);
}

char *victim_secret(const char *name) { return strcmp(name, "data") == 0 ? data_secret : bss_secret; }

char *victim_shared_end(void) { return shared_page + sizeof shared_page; }

__attribute__((destructor)) static void victim_fini(void) {
    say("victim data", STATE_OF(data_secret));
    say("victim bss", STATE_OF(bss_secret));
}
