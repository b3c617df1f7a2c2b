/* A libc that we do not know: preloaded before libia2.so, it answers otherwise than glibc does in one thing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#ifdef VERSION
const char *gnu_get_libc_version(void);
const char *gnu_get_libc_version(void) { return VERSION; }
#endif

#if defined SHORT || defined UNCOUNTED || defined MOVED || defined WITHOUT_US
struct asked {
    int (*callback)(struct dl_phdr_info *, size_t, void *);
    void *data;
};

static int change(struct dl_phdr_info *info, size_t size, void *data) {
    struct asked *asked = data;
#ifdef SHORT
    size = offsetof(struct dl_phdr_info, dlpi_adds);
#elif defined UNCOUNTED
    info->dlpi_adds = 0;
#elif defined MOVED
    if (strstr(info->dlpi_name, "libc.so")) {
        info->dlpi_addr += 16;
    }
#else
    if (strstr(info->dlpi_name, "libia2.so")) {
        return 0;
    }
#endif
    return asked->callback(info, size, asked->data);
}

int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data) {
    int (*real)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "dl_iterate_phdr");
    struct asked asked = {callback, data};
    return real(change, &asked);
}
#endif

#ifdef HOOKED
extern struct hook {
    unsigned long version;
    int (*run)(struct link_map *);
} __ia2_dl_fini_hook;
struct hook __ia2_dl_fini_hook = {1, NULL};
#endif
