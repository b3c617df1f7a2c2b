/* Which backend this process gets. */
#include <sys/auxv.h>
#include <sys/mman.h>

#include "backend.h"
#include "close.h"
#include "gate.h"
#include "map.h"
#include "objects.h"
#include "run.h"
#include "system.h"
#include "words.h"

#define WANTED_SIZE 8192u /* of the tables behind ia2_sealed.wanted: `wanted` and `around` by slot */

_Static_assert(IA2_AROUND == IA2_THREADS * sizeof(uint32_t) && WANTED_SIZE == 2 * IA2_AROUND, "a page for each");

static char why[160];

/* The compartments that a key is needed for: those of the map, and of the objects that are there. */
static bool give_keys(uint32_t *needed, uint32_t *had) {
    bool enough = true;
    *needed = *had = 0;
    for (uint32_t id = 1; id <= IA2_MAP_MAX_COMPARTMENT; id++) {
        bool used = ia2_map_compartment_name(id) != NULL;
        for (uint32_t slot = 1; !used && slot <= ia2_objects_highest(); slot++) {
            used = ia2_object(slot)->map && ia2_object(slot)->compartment == id && ia2_object(slot)->range_count > 0;
        }
        if (used) {
            ++*needed;
            enough = enough && ia2_pku_give_key((uint16_t)id);
            *had += enough;
        }
    }
    return enough;
}

static const char *too_few(uint32_t needed, uint32_t had) {
    struct ia2_words words;
    ia2_words_begin(&words, "");
    ia2_words_number(&words, needed + 1);
    ia2_words_text(&words, " protection keys are needed, one for each compartment and one for the runtime; ");
    ia2_words_number(&words, had);
    ia2_words_text(&words, " are free");
    words.text[words.length] = '\0';
    ia2_copy(why, sizeof why, words.text);
    return why;
}

/* The memory that every gate's closing is compared with: once for the runtime to write, once for everybody to read. */
static bool map_wanted(void) {
    /* No memory file: that would count against the program's limit of file sizes, and SIGXFSZ be the end of it. */
    long writable = ia2_syscall(SYS_mmap, 0, WANTED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (writable < 0) {
        return false;
    }
    long readable = ia2_syscall4(SYS_mremap, writable, 0, WANTED_SIZE, MREMAP_MAYMOVE); /* of size 0: once more */
    if (readable < 0 || ia2_mprotect((uintptr_t)readable, WANTED_SIZE, PROT_READ) != 0) {
        return false;
    }
    ia2_sealed.wanted = (uint32_t *)writable;
    for (unsigned i = 0; i < WANTED_SIZE / sizeof(uint32_t); i++) {
        ia2_sealed.wanted[i] = UINT32_MAX; /* nobody's: no PKRU that is ever loaded */
    }
    ia2_sealed.wanted_alias = (const uint32_t *)readable;
    return true;
}

/* The runtime's own writable memory gets its key: all but what must stay readable (ia2_sealed, the trampolines' return addresses). */
static const char *take_pku(void) {
    if (!ia2_pku_exists()) {
        return "the CPU or the kernel has no protection keys";
    }
    ia2_sealed.pkru_offset = ia2_pku_frame_offset();
    ia2_sealed.fsgsbase = getauxval(AT_HWCAP2) & (1u << 1); /* HWCAP2_FSGSBASE */
    ia2_sealed.runtime_key = ia2_pku_new_key();
    uint32_t needed, had;
    bool enough = give_keys(&needed, &had);
    if (!ia2_sealed.runtime_key || !enough) {
        ia2_pku_free_keys();
        if (ia2_sealed.runtime_key) {
            ia2_syscall1(SYS_pkey_free, ia2_sealed.runtime_key);
            ia2_sealed.runtime_key = 0;
            had++;
        }
        return too_few(needed, had);
    }
    if (!ia2_sealed.pkru_offset || !map_wanted() || !ia2_pku_tag_runtime()) {
        ia2_pku_free_keys();
        ia2_syscall1(SYS_pkey_free, ia2_sealed.runtime_key);
        ia2_sealed.runtime_key = 0;
        return "the kernel does not let its memory be tagged";
    }
    ia2_sealed.runtime_bits = ia2_key_bits(ia2_sealed.runtime_key);
    ia2_sealed.backend = IA2_BACKEND_PKU;
    ia2_sealed.enforcing = true;
    return NULL;
}

const char *ia2_backend_choose(const char *wanted) {
    bool any = wanted[0] == '\0' || ia2_equal(wanted, "auto");
    if (ia2_equal(wanted, "none")) {
        return NULL;
    }
    if (any || ia2_equal(wanted, "pku")) {
        const char *wrong = take_pku();
        if (!wrong || !any) {
            return wrong;
        }
        ia2_sealed.backend_why = wrong;
    }
    ia2_sealed.backend = IA2_BACKEND_MPROTECT;
    ia2_sealed.enforcing = true;
    return NULL;
}
