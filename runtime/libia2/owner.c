#include "owner.h"

#include "attach.h"
#include "objects.h"
#include "run.h"
#include "symbols.h"
#include "tally.h"

static bool inside(const struct ia2_object *object, uintptr_t address) {
    return address >= object->start && address < object->end;
}

/* Compartment of the object at `address`, IA2_NO_OWNER when no object is there. */
static uint16_t compartment_at(uintptr_t address) {
    uint32_t slot = ia2_object_at_now(address);
    return slot ? ia2_object(slot)->compartment : IA2_NO_OWNER;
}

/* Rule 3: the argument is another object's copy of an inline variable. */
static void check_vague(struct exit_record *record, const struct ia2_object *object) {
    uintptr_t argument = record->argument;
    if (argument == 0 || inside(object, argument)) {
        return;
    }
    uint32_t other = ia2_object_at_now(argument);
    if (other && ia2_object(other)->compartment != record->owner &&
        ia2_symbol_is_vague(ia2_object(other), argument - ia2_object(other)->base)) {
        record->flags |= IA2_VAGUE;
        record->also = ia2_object(other)->compartment;
    }
}

/* Rule 5: a diagnosis only. Tail calls make the return address name whoever called the registrar, so shared objects
 * (ld.so, libc) prove nothing. */
static void check_foreign(struct exit_record *record, const struct ia2_object *object) {
    if (record->registrar == 0 || inside(object, record->registrar)) {
        return;
    }
    uint16_t registrar = compartment_at(record->registrar);
    if (registrar != IA2_NO_OWNER && registrar != 0 && registrar != record->owner) {
        record->flags |= IA2_FOREIGN;
    }
}

/* Rule 2: the object that `dso` points into. The exit map may say more of a function of that same object. */
static bool by_dso(struct exit_record *record) {
    uint32_t epoch = ia2_objects_epoch();
    uintptr_t dso = ia2_record_dso(record);
    uint32_t slot = dso ? ia2_object_at_now(dso) : IA2_NO_OBJECT;
    if (slot == IA2_NO_OBJECT) {
        return false;
    }
    const struct ia2_object *object = ia2_object(slot);
    record->owner = object->compartment;
    ia2_self()->owner_cache = (struct ia2_owner_cache){
        .dso = dso,
        .start = object->start,
        .size = object->end - object->start,
        .epoch = epoch,
        .owner = object->compartment,
        .plain = object->listed == NULL,
    };
    if (object->listed && inside(object, record->function)) {
        const struct ia2_destructor *entry = ia2_map_destructor(object->listed, record->function - object->base, 0);
        if (entry) {
            record->owner = (uint16_t)entry->compartment;
            if (entry->kind == IA2_EXIT_ATEXIT && record->kind == IA2_EXIT_CXA_ATEXIT) {
                record->kind = IA2_EXIT_ATEXIT; /* the object's own atexit called us: only its code can tell */
            }
        }
    }
    check_vague(record, object);
    check_foreign(record, object);
    return true;
}

/* Rules 4 and 6, without an object: the holder of the function, or the registrar, whichever is asked first and is no shared
 * object; a shared one where there is no other; else nobody. */
static void by_address(struct exit_record *record, uintptr_t first, uintptr_t second) {
    uint16_t owner = first ? compartment_at(first) : IA2_NO_OWNER;
    if (owner == 0 || owner == IA2_NO_OWNER) {
        uint16_t other = second ? compartment_at(second) : IA2_NO_OWNER;
        owner = other != IA2_NO_OWNER ? other : owner;
    }
    record->owner = owner;
}

void ia2_owner_resolve(struct exit_record *record) {
    bool names_object = record->kind != IA2_EXIT_ON_EXIT && record->kind != IA2_EXIT_PTHREAD_KEY;
    record->also = 0;
    if (!names_object) {
        by_address(record, record->function, record->registrar);
    } else if (!by_dso(record)) {
        by_address(record, record->registrar, record->function);
    }
    ia2_tally_registration(record);
}

void ia2_owner_of_fini(struct exit_record *record, uint32_t slot) {
    const struct ia2_object *object = ia2_object(slot);
    record->flags = 0;
    record->also = 0;
    record->owner = object->compartment;
    if (object->listed && inside(object, record->function)) {
        const struct ia2_destructor *entry =
            ia2_map_destructor(object->listed, record->function - object->base, record->kind);
        if (entry) {
            record->owner = (uint16_t)entry->compartment;
        }
    }
}

void ia2_owner_restrict(struct exit_record *record, uint32_t pkru) {
    int registrar = ia2_host_compartment(pkru);
    if (registrar > 0 && record->owner != 0 && record->owner != registrar) {
        ia2_untally_registration(record);
        record->flags = (uint8_t)((record->flags | IA2_FOREIGN) & ~IA2_VAGUE);
        record->owner = (uint16_t)registrar;
        ia2_tally_registration(record);
    }
}
