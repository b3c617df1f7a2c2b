/* An audit module (LD_AUDIT) that allocates PKU_TAKE protection keys before any other code of the process has run. */
#include <stdlib.h>
#include <sys/mman.h>

unsigned la_version(unsigned version);

unsigned la_version(unsigned version) {
    const char *keys = getenv("PKU_TAKE");
    for (int left = keys ? atoi(keys) : 0; left > 0; left--) {
        if (pkey_alloc(0, PKEY_DISABLE_ACCESS) < 0) {
            abort();
        }
    }
    return version;
}
