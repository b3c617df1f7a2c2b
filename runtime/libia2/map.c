#include "map.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

#include "map_check.h"
#include "map_image.h"
#include "map_seal.h"
#include "secret.h"
#include "system.h"
#include "vault.h"

static struct {
    const struct ia2_map_image *image; /* NULL: no map is loaded */
    uint64_t size;
    const char *protection;
} resident IA2_VAULT;

/* Reads `size` bytes; false where the file has fewer, or cannot be read. */
static bool read_all(long fd, char *to, uint64_t size) {
    uint64_t done = 0;
    while (done < size) {
        long got = ia2_syscall3(SYS_read, fd, (long)(to + done), (long)(size - done));
        if (got <= 0) {
            return false;
        }
        done += (uint64_t)got;
    }
    return true;
}

/* Reads the file into memory of ours: a mapping of it would change, or end, when somebody writes to the file. Behind it comes what
 * ia2_map_check() needs. */
static const char *read_file(long fd, uint64_t size, struct ia2_map_header **file) {
    struct ia2_map_header header;
    const uint64_t begin = size < sizeof header ? size : sizeof header;
    if (!read_all(fd, (char *)&header, begin)) {
        return "exit map cannot be read";
    }
    const char *wrong = ia2_map_check_header(&header, begin, size);
    if (wrong) {
        return wrong;
    }
    *file = ia2_map_memory(size + size / 8 + 1);
    if (!*file) {
        return "no memory for the exit map";
    }
    **file = header;
    if (!read_all(fd, (char *)(*file + 1), size - begin)) {
        return "exit map cannot be read";
    }
    return ia2_map_check(*file, size, (uint8_t *)*file + size);
}

static const char *make_resident(const struct ia2_map_header *file) {
    const uint64_t size = ia2_map_image_size(file);
    struct ia2_map_image *image = ia2_map_memory(size);
    if (!image) {
        return "no memory for the exit map";
    }
    ia2_map_image_build(image, file, ia2_secret);
    resident.protection = ia2_map_seal(image, size);
    resident.size = size;
    resident.image = image;
    return NULL;
}

const char *ia2_map_load(const char *path) {
    resident.image = NULL;
    /* Without waiting: a FIFO that nobody writes to is no map. */
    long fd = ia2_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0) {
        return "exit map cannot be opened";
    }
    struct stat status;
    struct ia2_map_header *file = NULL;
    const char *wrong = "exit map is empty or too large";
    if (ia2_syscall2(SYS_fstat, fd, (long)&status) == 0 && status.st_size > 0 && status.st_size <= (1l << 31)) {
        wrong = read_file(fd, (uint64_t)status.st_size, &file);
    }
    ia2_syscall1(SYS_close, fd);
    wrong = wrong ? wrong : make_resident(file);
    if (file) {
        ia2_syscall2(SYS_munmap, (long)file, status.st_size + status.st_size / 8 + 1);
    }
    return wrong;
}

const char *ia2_map_protection(void) { return resident.image ? resident.protection : "no map"; }

const char *ia2_map_verify(void) {
    return resident.image ? ia2_map_image_verify(resident.image, resident.size, ia2_secret) : NULL;
}

bool ia2_map_loaded(void) { return resident.image != NULL; }

uint32_t ia2_map_unlisted(void) {
    return resident.image ? ia2_map_image_unlisted(resident.image, ia2_secret) : IA2_MAP_EACH;
}

const struct ia2_map_object *ia2_map_find(const uint8_t *build_id, uint32_t size, const char *name) {
    return resident.image ? ia2_map_image_find(resident.image, ia2_secret, build_id, size, name) : NULL;
}

const struct ia2_destructor *ia2_map_destructor(const struct ia2_map_object *object, uint64_t rva, uint32_t kind) {
    return resident.image ? ia2_map_image_destructor(resident.image, ia2_secret, object, rva, kind) : NULL;
}

const char *ia2_map_compartment_name(uint32_t id) {
    return resident.image ? ia2_map_image_compartment_name(resident.image, ia2_secret, id) : NULL;
}

uint32_t ia2_map_last_compartment(void) {
    return resident.image ? ia2_map_image_last_compartment(resident.image, ia2_secret) : 0;
}
