/* The way to the call frame information of an address: object, .eh_frame_hdr, FDE, CIE. */
#include <dlfcn.h>

#include "cfi.h"

/* Encodings of pointers (LSB 5.0, 10.5.1): the low four bits say the size, the next three what it is relative to. */
enum {
    ABSOLUTE = 0x00,
    UDATA4 = 0x03,
    PC_RELATIVE = 0x10,
    DATA_RELATIVE_SDATA4 = 0x3b,
    RELATION = 0x70,
    OMITTED = 0xff
};

struct table_entry {
    int32_t function, fde; /* both relative to the beginning of .eh_frame_hdr */
};

static uint64_t take_number(struct ia2_bytes *from, uint8_t encoding) {
    static const uint8_t sizes[] = {8, 0, 2, 4, 8, 0, 0, 0}; /* by the low three bits; bit 3: signed */
    size_t size = sizes[encoding & 7];
    if ((encoding & 7) == 1) {
        return ia2_take_leb(from, (encoding & 8) != 0);
    }
    from->bad |= size == 0;
    return encoding & 8 ? (uint64_t)ia2_take_signed(from, size ? size : 1) : ia2_take(from, size);
}

/* An address of code; nothing but absolute and relative to its own place occurs for those. */
static uintptr_t take_address(struct ia2_bytes *from, uint8_t encoding) {
    uintptr_t place = (uintptr_t)from->at;
    from->bad |= encoding != OMITTED && (encoding & RELATION) != ABSOLUTE && (encoding & RELATION) != PC_RELATIVE;
    uint64_t value = take_number(from, encoding);
    return (encoding & RELATION) == PC_RELATIVE ? value + place : value;
}

/* The FDE that covers `address` if any does: the last one that begins at it or before. */
static const uint8_t *search(const struct dl_find_object *object, uintptr_t address) {
    uintptr_t header = (uintptr_t)object->dlfo_eh_frame;
    struct ia2_bytes bytes = {(const uint8_t *)header, object->dlfo_map_end, false};
    uint8_t version = (uint8_t)ia2_take(&bytes, 1);
    uint8_t frame_encoding = (uint8_t)ia2_take(&bytes, 1);
    uint8_t count_encoding = (uint8_t)ia2_take(&bytes, 1);
    uint8_t table_encoding = (uint8_t)ia2_take(&bytes, 1);
    if (version != 1 || count_encoding == OMITTED || table_encoding != DATA_RELATIVE_SDATA4) {
        return NULL; /* no table that can be searched; no linker writes another one */
    }
    take_number(&bytes, frame_encoding);
    uint64_t count = take_number(&bytes, count_encoding);
    if (bytes.bad || count == 0 || count > (uint64_t)(bytes.end - bytes.at) / sizeof(struct table_entry)) {
        return NULL;
    }
    const struct table_entry *table = (const void *)bytes.at;
    uint64_t low = 0;
    for (uint64_t high = count; high - low > 1;) {
        uint64_t middle = low + (high - low) / 2;
        if (header + (uintptr_t)(intptr_t)table[middle].function <= address) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (const uint8_t *)header + table[low].fde;
}

/* The body of a CIE or FDE, from the member after its length on. */
static struct ia2_bytes open_entry(const struct dl_find_object *object, const uint8_t *at) {
    bool outside = at < (const uint8_t *)object->dlfo_map_start || at >= (const uint8_t *)object->dlfo_map_end;
    struct ia2_bytes bytes = {at, object->dlfo_map_end, outside};
    uint64_t length = ia2_take(&bytes, 4);
    bytes.bad |= length == 0 || length == UINT32_MAX; /* the end of all, or the 64-bit form: nobody has 4 GiB of it */
    return ia2_take_bytes(&bytes, length);
}

struct cie {
    uint8_t encoding; /* of addresses in its FDEs */
    bool sized;       /* there is augmentation data, with its size before it */
};

/* The augmentation data, letter by letter of `letters` (LSB 5.0, 10.6.1.1.1). */
static void read_augmentation(struct ia2_bytes data, const char *letters, struct cie *cie, struct ia2_cfi *cfi) {
    for (; *letters && !data.bad; letters++) {
        switch (*letters) {
        case 'R':
            cie->encoding = (uint8_t)ia2_take(&data, 1);
            break;
        case 'P': { /* the language's personality: not ours to call */
            uint8_t encoding = (uint8_t)ia2_take(&data, 1);
            take_number(&data, encoding);
            break;
        }
        case 'L':
            ia2_take(&data, 1);
            break;
        case 'S':
            cfi->signal_frame = true;
            break;
        default: /* a letter that is not known: what follows is not known either */
            return;
        }
    }
}

static bool read_cie(struct ia2_bytes bytes, struct cie *cie, struct ia2_cfi *cfi) {
    uint64_t id = ia2_take(&bytes, 4);
    uint64_t version = ia2_take(&bytes, 1);
    const char *letters = (const char *)bytes.at;
    while (ia2_take(&bytes, 1) != 0) {
    }
    if (bytes.bad || id != 0 || (version != 1 && version != 3)) {
        return false;
    }
    cfi->code_alignment = ia2_take_uleb(&bytes);
    cfi->data_alignment = ia2_take_sleb(&bytes);
    uint64_t return_address = version == 1 ? ia2_take(&bytes, 1) : ia2_take_uleb(&bytes);
    cfi->signal_frame = false;
    cie->encoding = ABSOLUTE;
    cie->sized = *letters == 'z';
    if (cie->sized) {
        read_augmentation(ia2_take_bytes(&bytes, ia2_take_uleb(&bytes)), letters + 1, cie, cfi);
    }
    cfi->initial = bytes;
    return !bytes.bad && return_address == IA2_RIP && (cie->sized || !*letters);
}

bool ia2_cfi_find(uintptr_t address, struct ia2_cfi *cfi) {
    struct dl_find_object object;
    if (_dl_find_object((void *)address, &object) != 0 || !object.dlfo_eh_frame) {
        return false;
    }
    const uint8_t *fde = search(&object, address);
    if (!fde) {
        return false;
    }
    struct ia2_bytes bytes = open_entry(&object, fde);
    const uint8_t *place = bytes.at;
    uint64_t distance = ia2_take(&bytes, 4); /* back to the CIE, from here */
    struct cie cie;
    if (bytes.bad || distance == 0 || !read_cie(open_entry(&object, place - distance), &cie, cfi)) {
        return false;
    }
    cfi->function = take_address(&bytes, cie.encoding);
    cfi->size = take_number(&bytes, cie.encoding & 7);
    if (cie.sized) {
        ia2_take_bytes(&bytes, ia2_take_uleb(&bytes)); /* the language's table of handlers */
    }
    cfi->program = bytes;
    return !bytes.bad && address >= cfi->function && address - cfi->function < cfi->size;
}
