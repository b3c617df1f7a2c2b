#include "map_seal.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "system.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif
#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10 */
#endif

/* A write beyond this limit, into a memory file too, is a SIGXFSZ for the program. */
static bool file_size_allowed(uint64_t size) {
    struct rlimit limit;
    return ia2_syscall4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&limit) == 0 && limit.rlim_cur >= size;
}

static long make_file(void) {
    const long name = (long)"ia2-exit-map";
    long fd = ia2_syscall2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    return fd >= 0 ? fd : ia2_syscall2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static bool write_all(long fd, const char *bytes, uint64_t size) {
    uint64_t done = 0;
    while (done < size) {
        long wrote = ia2_syscall3(SYS_write, fd, (long)(bytes + done), (long)(size - done));
        if (wrote <= 0) {
            return false;
        }
        done += (uint64_t)wrote;
    }
    return true;
}

/* The same file, open for reading only; -errno where there is no /proc. */
static long reopen(long fd) {
    char path[32] = "/proc/self/fd/";
    char digits[20];
    size_t length = ia2_length(path);
    size_t count = 0;
    for (long rest = fd; rest > 0 || count == 0; rest /= 10) {
        digits[count++] = (char)('0' + rest % 10);
    }
    while (count > 0) {
        path[length++] = digits[--count];
    }
    path[length] = '\0';
    return ia2_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
}

static bool map_at(void *memory, uint64_t size, long fd) {
    return fd >= 0 &&
           ia2_syscall(SYS_mmap, (long)memory, (long)size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == (long)memory;
}

/* Puts a sealed memory file in the place of `memory`; where that fails, `memory` is as it was. */
static bool into_file(void *memory, uint64_t size) {
    const long seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    bool mapped = false;
    long fd = file_size_allowed(size) ? make_file() : -1;
    if (fd < 0) {
        return false;
    }
    if (write_all(fd, memory, size) && ia2_syscall3(SYS_fcntl, fd, F_ADD_SEALS, seals) == 0) {
        mapped = map_at(memory, size, fd);
        if (!mapped) {
            /* Before Linux 6.7 no sealed file can be mapped shared through a descriptor that is open for writing. Not the first
             * try: /proc costs as much as all the rest. */
            long reader = reopen(fd);
            mapped = map_at(memory, size, reader);
            if (reader >= 0) {
                ia2_syscall1(SYS_close, reader);
            }
        }
    }
    ia2_syscall1(SYS_close, fd);
    return mapped;
}

const char *ia2_map_seal(void *memory, uint64_t size) {
    const bool file = into_file(memory, size);
    if (!file && ia2_mprotect((uintptr_t)memory, size, PROT_READ) != 0) {
        return "writable memory";
    }
    const bool mapping = ia2_syscall3(SYS_mseal, (long)memory, (long)((size + 4095) & ~4095ul), 0) == 0;
    if (file) {
        return mapping ? "sealed file, mseal" : "sealed file";
    }
    return mapping ? "private memory, mseal" : "private memory";
}
