#include "identify.h"

#include <limits.h>
#include <sys/auxv.h>

#include "changes.h"
#include "dynamic.h"
#include "events.h"
#include "run.h"
#include "shared_objects.h"
#include "symbols.h"
#include "system.h"
#include "vault.h"

/* Types of the note "IA2" (ia2_exit_note.h). */
#define NOTE_COMPARTMENT 1u /* claims a compartment */
#define NOTE_MARKER 3u      /* says that the header was included */

/* Who uses a compartment number, and a name for it: that of its first object. Only written under the lock of the table. */
static struct {
    char name[128]; /* "": none; a copy: who asks may still read it when the object is gone */
    enum { FREE, OWN, CLAIMED } use;
    uint64_t retired; /* when the last object with it went (changes.h) */
} compartments[IA2_MAP_MAX_COMPARTMENT + 1u] IA2_LARGE;
static bool claims;                        /* some object has a note: the program numbers its compartments itself */
static const struct ia2_object *allocator; /* the object that `malloc` resolves to: it serves everyone */

static uintptr_t align(uintptr_t value, uintptr_t to) { return (value + to - 1) & ~(to - 1); }

/* Walks the notes of one PT_NOTE segment (ELF gABI, "Note Section"): the build ID, the claim of a compartment, the marker. */
static void read_notes(struct ia2_object *object, uintptr_t start, uintptr_t size, uintptr_t alignment, int *claim) {
    uintptr_t at = start;
    const uintptr_t end = start + size;
    const uintptr_t step = alignment == 8 ? 8 : 4;
    while (end - at >= sizeof(ElfW(Nhdr)) && at < end) {
        const ElfW(Nhdr) *note = (const void *)at;
        uintptr_t name = at + sizeof *note;
        uintptr_t content = align(name + note->n_namesz, step);
        uintptr_t next = align(content + note->n_descsz, step);
        if (note->n_namesz > end - name || content > end || note->n_descsz > end - content) {
            return;
        }
        if (note->n_namesz == 4 && ia2_equal((const char *)name, "GNU") && note->n_type == NT_GNU_BUILD_ID) {
            object->build_id_size = note->n_descsz < IA2_MAP_BUILD_ID ? note->n_descsz : IA2_MAP_BUILD_ID;
            for (uint32_t i = 0; i < object->build_id_size; i++) {
                object->build_id[i] = ((const uint8_t *)content)[i];
            }
        } else if (note->n_namesz == 4 && ia2_equal((const char *)name, "IA2") && note->n_type == NOTE_COMPARTMENT &&
                   note->n_descsz >= 4) {
            uint32_t id = *(const uint32_t *)content;
            *claim = id <= IA2_MAP_MAX_COMPARTMENT ? (int)id : *claim;
        } else if (note->n_namesz == 4 && ia2_equal((const char *)name, "IA2") && note->n_type == NOTE_MARKER) {
            object->marked = true;
        }
        at = next;
    }
}

/* ld.so's name is gone before our last event about an unloaded object, so the slot has a copy. */
static void keep_path(struct ia2_object *object, const char *path) {
    object->path = object->short_path;
    if (!ia2_copy(object->short_path, sizeof object->short_path, path)) {
        char *page = ia2_map_memory(PATH_MAX);
        if (page) {
            ia2_copy(page, PATH_MAX, path);
            object->path = page;
        }
    }
}

void ia2_release_path(struct ia2_object *object) {
    if (object->path != object->short_path) {
        ia2_syscall2(SYS_munmap, (long)object->path, PATH_MAX);
    }
}

const char *ia2_first_argument;

static bool is_loader(const char *path) {
    const char *base = ia2_base_name(path);
    return ia2_glob("ld-linux*.so*", base) || ia2_glob("ld-*.so", base) || ia2_equal(base, "ld.so");
}

bool ia2_program_path(char *to, size_t size) {
    long length = ia2_syscall3(SYS_readlink, (long)"/proc/self/exe", (long)to, (long)size - 1);
    to[length > 0 ? length : 0] = '\0';
    if (length <= 0 || is_loader(to)) {
        return ia2_first_argument && ia2_copy(to, size, ia2_first_argument);
    }
    return true;
}

static void find_path(struct ia2_object *object, const struct dl_phdr_info *info) {
    if (info->dlpi_name && info->dlpi_name[0]) {
        keep_path(object, info->dlpi_name);
        return;
    }
    /* The name that it was started by will do where nobody is told the path: /proc costs more than all the rest of our start. */
    const char *started = (const char *)getauxval(AT_EXECFN);
    char path[PATH_MAX];
    if ((ia2_sealed.watching || !started || is_loader(started)) && ia2_program_path(path, sizeof path)) {
        started = path;
    }
    keep_path(object, started ? started : "main");
}

/* What the program headers and the notes say. `*claim` stays as it is where no note claims a compartment. */
static void read_headers(struct ia2_object *object, const ElfW(Phdr) *headers, size_t count, int *claim) {
    object->start = object->code_start = UINTPTR_MAX;
    for (size_t i = 0; i < count; i++) {
        const ElfW(Phdr) *segment = &headers[i];
        uintptr_t start = object->base + segment->p_vaddr;
        uintptr_t end = start + segment->p_memsz;
        if (segment->p_type == PT_LOAD) {
            object->start = start < object->start ? start : object->start;
            object->end = end > object->end ? end : object->end;
            if (segment->p_flags & PF_X) {
                object->code_start = start < object->code_start ? start : object->code_start;
                object->code_end = end > object->code_end ? end : object->code_end;
            }
            uintptr_t dynamic = (uintptr_t)object->dynamic;
            if (dynamic >= start && dynamic < end) {
                object->dynamic_flags = segment->p_flags;
            }
        } else if (segment->p_type == PT_GNU_RELRO) {
            object->relro_start = start;
            object->relro_end = end;
        } else if (segment->p_type == PT_TLS) {
            object->tls_start = start;
            object->tls_end = start + segment->p_filesz;
        } else if (segment->p_type == PT_NOTE) {
            read_notes(object, start, segment->p_memsz, segment->p_align, claim);
        }
    }
}

static void find_ranges(struct ia2_object *object, const ElfW(Phdr) *headers, size_t count) {
    uint32_t found = ia2_ranges_find(object, headers, count, object->ranges, IA2_MAX_RANGES);
    object->why_not = ia2_ranges_why_not(found);
    object->range_count = object->why_not ? 0 : (uint8_t)found;
}

void ia2_identify(struct ia2_object *object, const struct dl_phdr_info *info, bool at_start) {
    struct ia2_dynamic tables;
    int claim = -1;
    object->base = info->dlpi_addr;
    read_headers(object, info->dlpi_phdr, info->dlpi_phnum, &claim);
    find_path(object, info);
    find_ranges(object, info->dlpi_phdr, info->dlpi_phnum);
    ia2_dynamic_read(object, &tables);
    object->soname = tables.soname;
    if (at_start && !allocator && ia2_symbol_find(&tables, "malloc")) {
        allocator = object;
    }
    object->decided_by = IA2_BY_UNLISTED;
    if (claim >= 0) {
        object->decided_by = IA2_BY_NOTE;
        object->compartment = (uint16_t)claim;
        object->clash = compartments[claim].use == OWN;
        compartments[claim].use = CLAIMED;
        claims = true;
    }
}

static bool shared_by_default(const struct ia2_object *object) {
    const char *base = ia2_base_name(object->path);
    const char *soname = object->soname;
    for (const char *const *pattern = ia2_shared_patterns; *pattern; pattern++) {
        bool whole = false;
        for (const char *at = *pattern; *at; at++) {
            whole = whole || *at == '/';
        }
        if (ia2_glob(*pattern, whole ? object->path : base) || (!whole && soname && ia2_glob(*pattern, soname))) {
            return true;
        }
    }
    return object == allocator;
}

/* The lowest free compartment number above the map's that no running destructor has rights to; the last number serves all objects that come after it. Where notes claim
 * numbers, objects that are yet to come may claim more of the low ones: start behind those that keys exist for. */
static uint16_t own_compartment(void) {
    uint32_t id = ia2_map_last_compartment() + 1;
    if (claims && id <= IA2_LAST_KEY) {
        id = IA2_LAST_KEY + 1;
    }
    const uint64_t oldest = ia2_changes_oldest();
    while (id < IA2_MAP_MAX_COMPARTMENT && (compartments[id].use != FREE || compartments[id].retired >= oldest)) {
        id++;
    }
    if (id > IA2_MAP_MAX_COMPARTMENT) {
        id = IA2_MAP_MAX_COMPARTMENT;
    }
    compartments[id].use = OWN;
    return (uint16_t)id;
}

static const struct ia2_map_object *find_listed(const struct ia2_object *object) {
    const char *name = object->soname ? object->soname : ia2_base_name(object->path);
    return ia2_map_find(object->build_id, object->build_id_size, name);
}

const struct ia2_map_object *ia2_find_listed(const ElfW(Ehdr) *header, const struct link_map *map) {
    struct ia2_object object = {.base = map->l_addr, .dynamic = map->l_ld, .path = map->l_name};
    struct ia2_dynamic tables;
    int claim;
    /* Only headers that are certainly mapped: some tools put them elsewhere in the file. The table knows of such an object soon. */
    bool here = ia2_starts_with((const char *)header->e_ident, ELFMAG) && header->e_phoff == sizeof *header &&
                header->e_phnum <= (4096 - sizeof *header) / sizeof(ElfW(Phdr));
    if (!ia2_map_loaded() || !here) {
        return NULL;
    }
    read_headers(&object, (const void *)((uintptr_t)header + header->e_phoff), header->e_phnum, &claim);
    ia2_dynamic_read(&object, &tables);
    object.soname = tables.soname;
    return find_listed(&object);
}

static void set_name(uint16_t id, const struct ia2_object *object) {
    (void)ia2_copy(compartments[id].name, sizeof compartments[id].name, object ? ia2_base_name(object->path) : "");
}

void ia2_choose_compartment(struct ia2_object *object) {
    object->listed = find_listed(object);
    if (object->listed) {
        object->compartment = (uint16_t)object->listed->compartment;
        object->decided_by = IA2_BY_MAP;
    } else if (object->decided_by == IA2_BY_NOTE) {
        /* The claim stands: no policy speaks of this object. */
    } else if (shared_by_default(object)) {
        object->compartment = 0;
        object->decided_by = IA2_BY_DEFAULT;
    } else {
        uint32_t unlisted = ia2_map_unlisted();
        object->compartment = unlisted == IA2_MAP_EACH ? own_compartment() : (uint16_t)unlisted;
    }
    if (!compartments[object->compartment].name[0]) {
        set_name(object->compartment, object);
    }
    if (object == allocator && object->map->l_name[0] == '\0') {
        object->why_not = "the program defines malloc itself, so its data is shared";
    }
}

void ia2_leave_compartment(const struct ia2_object *object, const struct ia2_object *heir) {
    uint16_t id = object->compartment;
    if (ia2_starts_with(ia2_base_name(object->path), compartments[id].name)) {
        set_name(id, heir);
    }
    if (!heir && compartments[id].use == OWN) {
        compartments[id].use = FREE;
        compartments[id].retired = ia2_changes_retire();
    }
}

const char *ia2_compartment_name(uint16_t id) {
    const char *name = ia2_map_compartment_name(id);
    if (!name) {
        name = id == 0 ? "shared" : compartments[id].name;
    }
    return name[0] ? name : "?";
}
