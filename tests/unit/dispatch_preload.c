/* Preloaded: the first thread of an unmodified program, and its forked children, run under dispatch from before main to the end. Their
 * system calls that were dispatched are counted in the file that DISPATCH_COUNT names. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "dispatch_guest.h"
#include "system.h"

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISPATCH_COUNT");
    long file = ia2_syscall3(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC);
    long count = ia2_syscall(SYS_mmap, 0, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || (count < 0 && count > -GUEST_PAGE)) {
        abort();
    }
    ia2_syscall1(SYS_close, file);
    guest_counter = (volatile int *)count;
    guest_begin();
}
