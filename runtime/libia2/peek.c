#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "system.h"

/* Page protections bind process_vm_readv(), protection keys do not (mm/gup.c: keys are the caller's, this is "remote"). It needs
 * neither a descriptor nor /proc, and most of what is looked at is open. */
static bool read_open(void *to, uintptr_t from, size_t size) {
    struct iovec local = {to, size};
    struct iovec remote = {(void *)from, size};
    return ia2_syscall(SYS_process_vm_readv, ia2_getpid(), (long)&local, 1, (long)&remote, 1, 0) == (long)size;
}

/* A debugger's view (FOLL_FORCE): neither binds it. */
static bool read_closed(void *to, uintptr_t from, size_t size) {
    long file = ia2_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) {
        return false;
    }
    size_t done = 0;
    while (done < size) {
        long result = ia2_syscall4(SYS_pread64, file, (long)to + (long)done, (long)(size - done), (long)(from + done));
        if (result > 0) {
            done += (size_t)result;
        } else if (result != -EINTR) {
            break;
        }
    }
    ia2_syscall1(SYS_close, file);
    return done == size;
}

bool ia2_peek(void *to, uintptr_t from, size_t size) {
    return read_open(to, from, size) || read_closed(to, from, size);
}
