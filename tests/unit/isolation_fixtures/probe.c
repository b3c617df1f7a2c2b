/* libprobe.so: the runtime's files about memory, over a table of objects that needs no more of the runtime. Like libia2.so it is in a
 * shared object of its own, so that its data stays open. */
#include "probe.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "allowed.h"
#include "objects.h"
#include "pieces.h"
#include "ranges.h"
#include "system.h"

#define PUBLIC __attribute__((visibility("default")))

enum { MAX_OBJECTS = 64, MAX_PIECES = 256 };

static struct ia2_object objects[MAX_OBJECTS];
static uint32_t highest;

struct ia2_object *ia2_object(uint32_t slot) { return &objects[slot]; }
uint32_t ia2_objects_highest(void) { return highest; }

uint32_t ia2_object_at(uintptr_t address) {
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) == 0) {
        for (uint32_t slot = 1; slot <= highest; slot++) {
            if (objects[slot].map == found.dlfo_link_map) {
                return slot;
            }
        }
    }
    return IA2_NO_OBJECT;
}

static bool has_marker(const char *start, size_t size) {
    static const char marker[] = "\4\0\0\0\0\0\0\0\3\0\0\0IA2";
    return memmem(start, size, marker, sizeof marker) != NULL;
}

static int add(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    if (++highest == MAX_OBJECTS) {
        abort();
    }
    struct ia2_object *object = &objects[highest];
    struct dl_find_object found;
    object->base = info->dlpi_addr;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const uintptr_t start = object->base + segment->p_vaddr;
        const uintptr_t end = start + segment->p_memsz;
        if (segment->p_type == PT_DYNAMIC) {
            object->dynamic = (void *)start;
        } else if (segment->p_type == PT_GNU_RELRO) {
            object->relro_start = start;
            object->relro_end = end;
        } else if (segment->p_type == PT_TLS) {
            object->tls_start = start;
            object->tls_end = start + segment->p_filesz;
        } else if (segment->p_type == PT_NOTE) {
            object->marked = object->marked || has_marker((const void *)start, segment->p_filesz);
        } else if (segment->p_type == PT_LOAD) {
            object->end = end > object->end ? end : object->end;
        }
    }
    if (_dl_find_object(object->dynamic, &found) != 0) {
        abort();
    }
    object->map = found.dlfo_link_map;
    object->path = info->dlpi_name[0] ? info->dlpi_name : "the program";
    const char *name = strrchr(object->path, '/');
    const bool shared = name && (strncmp(name, "/libc.so", 8) == 0 || strncmp(name, "/ld-linux", 9) == 0 ||
                                 strcmp(name, "/libprobe.so") == 0);
    object->compartment = shared ? 0 : (uint16_t)highest;
    const uint32_t ranges = ia2_ranges_find(object, info->dlpi_phdr, info->dlpi_phnum, object->ranges, IA2_MAX_RANGES);
    object->why_not = ia2_ranges_why_not(ranges);
    object->range_count = object->why_not ? 0 : (uint8_t)ranges;
    return 0;
}

PUBLIC void probe_start(void) {
    memset(objects, 0, sizeof objects);
    highest = 0;
    dl_iterate_phdr(add, NULL);
}

static struct ia2_object *object_of(const volatile void *address) {
    uint32_t slot = ia2_object_at((uintptr_t)address);
    return slot ? &objects[slot] : NULL;
}

PUBLIC void probe_show(const char *name, const volatile void *address) {
    const struct ia2_object *object = object_of(address);
    const char *state = object ? "open" : "nowhere";
    for (uint32_t i = 0; object && i < object->range_count; i++) {
        if ((uintptr_t)address >= object->ranges[i].start && (uintptr_t)address < object->ranges[i].end) {
            state = "closed";
        }
    }
    fprintf(stderr, "%s: %s\n", name, state);
}

/* Every page of the ranges is in the pieces, and was writable: nothing has closed or frozen it yet. */
static bool is_mapped_and_writable(uint32_t slot) {
    static struct ia2_piece pieces[MAX_PIECES];
    const uint32_t count = ia2_pieces_make(pieces, MAX_PIECES);
    uintptr_t sum = 0;
    for (uint32_t i = 0; count <= MAX_PIECES && i < count; i++) {
        sum += pieces[i].slot == slot && pieces[i].protection == (PROT_READ | PROT_WRITE)
                   ? pieces[i].end - pieces[i].start
                   : 0;
    }
    for (uint32_t i = 0; i < objects[slot].range_count; i++) {
        sum -= objects[slot].ranges[i].end - objects[slot].ranges[i].start;
    }
    return sum == 0;
}

PUBLIC void probe_show_object(const char *name, const volatile void *address) {
    const struct ia2_object *object = object_of(address);
    const char *wrong = object->why_not;
    uintptr_t last = 0;
    for (uint32_t i = 0; i < object->range_count; i++) {
        const struct ia2_range range = object->ranges[i];
        if (range.start <= last || range.end <= range.start || (range.start | range.end) % 4096 != 0) {
            wrong = "its ranges overlap, touch, or are not whole pages";
        }
        last = range.end;
    }
    if (!wrong && !is_mapped_and_writable((uint32_t)(object - objects))) {
        wrong = "a page of its ranges is not mapped, or not writable";
    }
    if (wrong) {
        fprintf(stderr, "%s: %s\n", name, wrong);
    } else {
        size_t pages = 0;
        for (uint32_t i = 0; i < object->range_count; i++) {
            pages += (object->ranges[i].end - object->ranges[i].start) / 4096;
        }
        fprintf(stderr, "%s: %u ranges, %zu pages\n", name, object->range_count, pages);
    }
}

/* ---- questions about closed memory ---- */

static struct ia2_piece pieces[MAX_PIECES];

static void set_all(uint32_t count, bool open) {
    for (uint32_t i = 0; i < count; i++) {
        if (ia2_mprotect(pieces[i].start, pieces[i].end - pieces[i].start, open ? pieces[i].protection : PROT_NONE) !=
            0) {
            _exit(99);
        }
    }
}

static const char *in_words(enum ia2_allowed why) {
    static const char *const words[] = {"no", "copied", "loader", "environment", "stdio"};
    return words[why];
}

static uint32_t close_all(void) {
    uint32_t count = ia2_pieces_make(pieces, MAX_PIECES);
    if (count > MAX_PIECES) {
        abort();
    }
    set_all(count, false);
    return count;
}

PUBLIC void probe_touch(const char *name, const volatile void *address, bool write, const void *instruction) {
    const uint32_t victim = ia2_object_at((uintptr_t)address);
    const uint32_t count = close_all();
    const bool closed = ia2_piece_at(pieces, count, (uintptr_t)address) != NULL;
    const enum ia2_allowed why = ia2_touch_allowed(victim, (uintptr_t)address, write, (uintptr_t)instruction);
    set_all(count, true);
    fprintf(stderr, "%s: %s\n", name, closed ? in_words(why) : "open");
}

PUBLIC void probe_buffer(const char *name, const volatile void *address, size_t size, bool write) {
    const uint32_t victim = ia2_object_at((uintptr_t)address);
    const uint32_t count = close_all();
    const enum ia2_allowed why = ia2_buffer_allowed(victim, (uintptr_t)address, size, write, NULL);
    set_all(count, true);
    fprintf(stderr, "%s: %s\n", name, in_words(why));
}

PUBLIC const void *probe_code(const char *function) { return dlsym(RTLD_DEFAULT, function); }
