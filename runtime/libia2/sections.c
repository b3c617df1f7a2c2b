#include "sections.h"

#include <errno.h>
#include <fcntl.h>

#include "objects.h"
#include "system.h"

/* Reads exactly `size` bytes at `offset` of a file. */
static bool read_at(long file, void *to, size_t size, uint64_t offset) {
    size_t done = 0;
    while (done < size) {
        long result =
            ia2_syscall4(SYS_pread64, file, (long)to + (long)done, (long)(size - done), (long)(offset + done));
        if (result > 0) {
            done += (size_t)result;
        } else if (result != -EINTR) {
            return false;
        }
    }
    return true;
}

/* Are the bytes of the file the same as those in memory? */
static bool same(long file, const void *memory, size_t size, uint64_t offset) {
    unsigned char block[512];
    const unsigned char *at = memory;
    while (size) {
        const size_t count = size < sizeof block ? size : sizeof block;
        if (!read_at(file, block, count, offset)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (block[i] != at[i]) {
                return false;
            }
        }
        at += count;
        offset += count;
        size -= count;
    }
    return true;
}

/* Is this the file that the object was loaded from? Its program headers say so, and the build ID, which is in a note. */
static bool is_file_of(long file, const ElfW(Ehdr) *header, const struct ia2_object *object, const ElfW(Phdr) *headers,
                       size_t count) {
    if (!same(file, ELFMAG, SELFMAG, 0) || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_phnum != count ||
        !same(file, headers, count * sizeof *headers, header->e_phoff)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type == PT_NOTE &&
            !same(file, (const void *)(object->base + headers[i].p_vaddr), headers[i].p_filesz, headers[i].p_offset)) {
            return false;
        }
    }
    return true;
}

/* The file of `object`, open and compared, and its header; negative when it cannot be had. */
static long open_file(const struct ia2_object *object, const char *path, const ElfW(Phdr) *headers, size_t count,
                      ElfW(Ehdr) *header) {
    /* O_NONBLOCK: the path may lead to a FIFO by now. */
    long file = ia2_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (file >= 0 && !(read_at(file, header, sizeof *header, 0) && is_file_of(file, header, object, headers, count))) {
        ia2_syscall1(SYS_close, file);
        return -ENOEXEC;
    }
    return file;
}

/* How many section headers there are, and which one holds the names (gABI, "ELF Header": numbers that do not fit are in the first
 * section header). */
static bool read_header(long file, const ElfW(Ehdr) *header, uint64_t *number, ElfW(Shdr) *names) {
    ElfW(Shdr) first;
    if (header->e_shoff == 0 || header->e_shentsize != sizeof first ||
        !read_at(file, &first, sizeof first, header->e_shoff)) {
        return false;
    }
    const uint64_t index = header->e_shstrndx == SHN_XINDEX ? first.sh_link : header->e_shstrndx;
    *number = header->e_shnum ? header->e_shnum : first.sh_size;
    return *number <= UINT32_MAX && index != SHN_UNDEF && index < *number &&
           read_at(file, names, sizeof *names, header->e_shoff + index * sizeof *names);
}

/* Is the section called `name`? Sets `*wrong` when the file contradicts itself. */
static bool is_called(long file, const ElfW(Shdr) *section, const ElfW(Shdr) *names, const char *name, bool *wrong) {
    char text[16] = "";
    const size_t size = ia2_length(name) + 1;
    if (section->sh_name >= names->sh_size || size >= sizeof text) {
        *wrong = true;
        return false;
    }
    if (names->sh_size - section->sh_name < size) {
        return false; /* too near to the end of the names */
    }
    if (!read_at(file, text, size, names->sh_offset + section->sh_name)) {
        *wrong = true;
        return false;
    }
    return ia2_equal(text, name);
}

static bool find(long file, const ElfW(Ehdr) *header, const struct ia2_object *object, const char *name,
                 struct ia2_range *found, uint32_t room, uint32_t *number) {
    enum { BLOCK = 16 };
    ElfW(Shdr) sections[BLOCK];
    ElfW(Shdr) names;
    uint64_t count;
    bool wrong = false;
    if (!read_header(file, header, &count, &names)) {
        return false;
    }
    for (uint64_t at = 0; at < count && !wrong; at += BLOCK) {
        const uint64_t here = count - at < BLOCK ? count - at : BLOCK;
        if (!read_at(file, sections, here * sizeof *sections, header->e_shoff + at * sizeof *sections)) {
            return false;
        }
        for (uint64_t i = 0; i < here; i++) {
            const ElfW(Shdr) *section = &sections[i];
            if ((section->sh_flags & (SHF_ALLOC | SHF_WRITE)) != (SHF_ALLOC | SHF_WRITE) ||
                !is_called(file, section, &names, name, &wrong)) {
                continue;
            }
            if (*number < room) {
                found[*number].start = object->base + section->sh_addr;
                found[*number].end = object->base + section->sh_addr + section->sh_size;
            }
            ++*number;
        }
    }
    return !wrong;
}

bool ia2_sections_find(const struct ia2_object *object, const ElfW(Phdr) *headers, size_t count, const char *name,
                       struct ia2_range *found, uint32_t room, uint32_t *number) {
    const bool program = object->map->l_name[0] == '\0';
    ElfW(Ehdr) header;
    long file = -ENOENT;
    *number = 0;
    if (program) { /* the name that it was started by may be a script's */
        file = open_file(object, "/proc/self/exe", headers, count, &header);
    }
    if (file < 0) {
        file = open_file(object, object->path, headers, count, &header);
    }
    if (file < 0) {
        return false;
    }
    const bool readable = find(file, &header, object, name, found, room, number);
    ia2_syscall1(SYS_close, file);
    return readable;
}
