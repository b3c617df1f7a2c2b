#include "takeover.h"

#include "ordered.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include "backend.h"
#include "events.h"
#include "owner.h"
#include "records.h"
#include "redirect.h"
#include "run.h"
#include "system.h"
#include "tamper.h"
#include "words.h"

bool ia2_takeover_begin(void) {
    return !ia2_sealed.enforcing ||
           ia2_mprotect((uintptr_t)ia2_fini_cells, sizeof ia2_fini_cells, PROT_READ | PROT_WRITE) == 0;
}

void ia2_takeover_end(void) {
    if (ia2_sealed.enforcing) {
        ia2_mprotect((uintptr_t)ia2_fini_cells, sizeof ia2_fini_cells, PROT_READ);
    }
}

void ia2_event_taken(const struct ia2_object *object) {
    for (uint32_t number = object->first_record; number && ia2_sealed.tracing;) {
        const struct exit_record *record = ia2_record_at(number - 1u);
        ia2_event_register(record);
        number = (uint32_t)record->next_fini;
    }
}

static void find_entries(struct ia2_object *object) {
    object->fini_array = object->fini_array_size = object->fini = NULL;
    for (ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_FINI_ARRAY) {
            object->fini_array = entry;
        } else if (entry->d_tag == DT_FINI_ARRAYSZ) {
            object->fini_array_size = entry;
        } else if (entry->d_tag == DT_FINI) {
            object->fini = entry;
        }
    }
    if (!object->fini_array || !object->fini_array_size || object->fini_array_size->d_un.d_val < sizeof(uintptr_t)) {
        object->fini_array = object->fini_array_size = NULL;
    }
}

/* Appends a record for one entry to the chain that ends at `*last` (0: empty). Returns false when there is no room. */
static bool add_record(struct ia2_object *object, uint32_t slot, uint32_t kind, uintptr_t function, uint32_t *last) {
    struct exit_record *record = ia2_record_new();
    if (!record) {
        return false;
    }
    record->function = function;
    record->argument = 0;
    atomic_store_explicit(&record->dso, object->start, memory_order_relaxed);
    record->next_fini = 0;
    record->kind = (uint8_t)kind;
    ia2_owner_of_fini(record, slot);
    ia2_record_publish(record);
    uint32_t number = ia2_record_place(record) + 1u;
    if (*last) {
        struct exit_record *before = ia2_record_at(*last - 1u);
        before->next_fini = number;
        ia2_record_seal(before);
    } else {
        object->first_record = number;
    }
    *last = number;
    object->entry_count++;
    return true;
}

static bool make_records(struct ia2_object *object, uint32_t slot) {
    uint32_t last = 0;
    if (object->fini_array) {
        object->entries = (uintptr_t *)(object->base + object->fini_array->d_un.d_ptr);
        for (size_t i = object->fini_array_size->d_un.d_val / sizeof(uintptr_t); i-- > 0;) {
            if (!add_record(object, slot, IA2_EXIT_FINI_ARRAY, object->entries[i], &last)) {
                return false;
            }
        }
    }
    return !object->fini || add_record(object, slot, IA2_EXIT_FINI, object->base + object->fini->d_un.d_ptr, &last);
}

void ia2_drop_taken(struct ia2_object *object) {
    uint32_t number = object->first_record;
    while (number) {
        struct exit_record *record = ia2_record_at(number - 1u);
        number = (uint32_t)record->next_fini;
        ia2_record_free(record);
    }
    object->first_record = 0;
    object->entry_count = 0;
}

void ia2_take_over(struct ia2_object *object, uint32_t slot) {
    find_entries(object);
    object->first_record = 0;
    object->entry_count = 0;
    if (!object->fini_array && !object->fini) {
        return;
    }
    const char *wrong = make_records(object, slot) ? NULL : "no memory for its records";
    if (!wrong) {
        wrong = ia2_sealed.patched || ia2_redirect(object, slot) ? NULL : "its dynamic section cannot be made writable";
    }
    if (wrong) {
        object->why_not = wrong;
        object->uncovered = true;
        ia2_drop_taken(object);
        object->fini_array = object->fini_array_size = object->fini = NULL;
    }
}

const char *ia2_taken_by(void) {
    if (ia2_sealed.patched) {
        return "patched";
    }
    for (uint32_t slot = 1; slot <= ia2_objects_highest(); slot++) {
        const struct ia2_object *object = ia2_object(slot);
        if (object->map && object->entry_count > 0 && !object->pointed) {
            return "dynamic";
        }
    }
    return "pointers";
}

void ia2_run_init(int argc, char **argv, char **envp, uint32_t slot) {
    uint32_t before = ia2_gate_open();
    const struct ia2_object *object = ia2_object(slot);
    const ElfW(Dyn) *init = object->init;
    uintptr_t function = init ? object->base + init->d_un.d_ptr : 0;
    ia2_objects_sync(); /* everything that waits has been relocated by now (elf/dl-open.c) */
    ia2_gate_close(before);
    if (function) {
        ((void (*)(int, char **, char **))function)(argc, argv, envp);
    }
}

static bool is_code(uintptr_t function) {
    struct dl_find_object found;
    uint32_t slot = ia2_object_at(function);
    if (slot) {
        return function >= ia2_object(slot)->code_start && function < ia2_object(slot)->code_end;
    }
    return _dl_find_object((void *)function, &found) == 0;
}

/* "/lib/libz.so.1, entry 0: it was libz.so.1+0x1139, and is program+0x11f0 now" */
static void describe(struct ia2_words *words, const struct ia2_object *object, const size_t *index, uintptr_t was,
                     uintptr_t now) {
    ia2_words_begin(words, object->path);
    if (index) {
        ia2_words_text(words, ", entry ");
        ia2_words_number(words, *index);
    }
    ia2_words_text(words, was == now ? ": it is " : ": it was ");
    ia2_words_place(words, was);
    if (was != now) {
        ia2_words_text(words, ", and is ");
        ia2_words_place(words, now);
        ia2_words_text(words, " now");
    }
}

/* What stands in the array now must be what was there when the object was loaded, and code of some object. `number` counts the object's
 * entries from 1, DT_FINI first. */
static void check_entry(const struct ia2_object *object, struct exit_record *record, size_t number) {
    const bool listed = record->kind == IA2_EXIT_FINI_ARRAY;
    const size_t index = object->fini ? number - 2 : number - 1;
    const uintptr_t now = listed ? object->entries[index] : record->function;
    const char *wrong = now != record->function ? "an entry of .fini_array was changed after the object was loaded"
                        : is_code(now)          ? NULL
                        : listed                ? "an entry of .fini_array is no code of any object"
                                                : "DT_FINI is no code of any object";
    if (!wrong) {
        return;
    }
    struct ia2_words which;
    describe(&which, object, listed ? &index : NULL, record->function, now);
    if (ia2_sealed.mode != IA2_OBSERVE) {
        ia2_tampered(wrong, ia2_words_string(&which));
    }
    ia2_event_fault(wrong, ia2_words_string(&which));
    record->function = now; /* what would have run without us */
    ia2_record_seal(record);
}

static void run_all(const struct ia2_object *object) {
    uint32_t number = object->first_record;
    for (size_t i = object->entry_count; number; i--) {
        struct exit_record *record = ia2_record_at(number - 1u);
        uint32_t next = (uint32_t)record->next_fini;
        check_entry(object, record, i);
        ia2_run_with(record, 0, 0);
        number = next;
    }
}

void ia2_run_fini(uint32_t slot) {
    uint32_t before = ia2_gate_open();
    struct ia2_thread *thread = ia2_self();
    struct ia2_object *object = ia2_object(slot);
    ia2_ordered_after();
    if (slot == IA2_NO_OBJECT || slot >= IA2_MAX_OBJECTS || !object->map) {
        ia2_event_fault("a finalisation stub was called for an object that is not loaded", NULL);
        ia2_gate_close(before);
        return;
    }
    if (!object->map->l_name[0] && !thread->unloading) {
        /* The program itself is finalised first of all: this is _dl_fini. */
        ia2_exit_begin(IA2_EXIT_FROM_DESTRUCTOR, IA2_STATUS_UNKNOWN);
    }
    const struct link_map *map = object->map;
    thread->finalising++;
    run_all(object);
    if (thread->finalising > 0) { /* an exit in between has set it to 0 */
        thread->finalising--;
    }
    const bool held = ia2_objects_hold();
    if (ia2_unloads() && object->map == map) {
        ia2_objects_finalised(slot);
    }
    if (thread->unloading) {
        ia2_close_forget(slot); /* ld.so may unmap it now */
    }
    if (held) {
        ia2_objects_release();
    }
    ia2_ordered_before();
    ia2_close_when_idle(thread); /* glibc unloads what it has loaded itself, and no hook sees that */
    ia2_gate_close(before);
}
