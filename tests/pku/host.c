#include "host.h"

#include <link.h>
#include <stddef.h>
#include <sys/mman.h>

#include "ia2_exit.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(0);

enum { PAGE = 4096, STACK = 256 * 1024 };

int host_gate(int (*function)(void *), void *argument, void *stack, uint32_t inside, uint32_t outside);

/* Only key 0 is open: everyone's memory, libc's too. */
static const uint32_t shared_pkru = 0xfffffffc;

static int keys[HOST_COMPARTMENTS + 1]; /* of compartment 0: key 0 */

/* The calling thread's stacks: where each begins, and where it is free from (of the one that runs: as it was when
 * entered). */
static _Thread_local char *bottoms[HOST_COMPARTMENTS + 1];
static _Thread_local char *tops[HOST_COMPARTMENTS + 1];
static _Thread_local uint32_t present; /* the compartment that runs, 0: none */

void host_start(void) {
    for (uint32_t i = 1; i <= HOST_COMPARTMENTS; i++) {
        keys[i] = pkey_alloc(0, 0);
        CHECK(keys[i] > 0);
    }
}

int host_key(uint32_t compartment) { return compartment <= HOST_COMPARTMENTS ? keys[compartment] : -1; }

uint32_t host_pkru(uint32_t compartment) { return shared_pkru & ~(3u << (2 * keys[compartment])); }

/* Top of the free part of the calling thread's stack for a compartment, 0 (everyone's) included; made on demand. */
static void *stack_of(uint32_t compartment) {
    if (compartment > HOST_COMPARTMENTS) {
        return NULL;
    }
    if (!bottoms[compartment]) {
        char *made = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        CHECK(made != MAP_FAILED);
        CHECK(pkey_mprotect(made, STACK, PROT_READ | PROT_WRITE, keys[compartment]) == 0);
        bottoms[compartment] = made;
        tops[compartment] = made + STACK;
    }
    return tops[compartment];
}

bool host_on_stack(uint32_t compartment) {
    uintptr_t bottom = (uintptr_t)bottoms[compartment];
    return bottom && (uintptr_t)__builtin_frame_address(0) - bottom < STACK;
}

int host_call(uint32_t compartment, int (*function)(void *), void *argument) {
    uint32_t before = present;
    char *top = tops[before];
    if (before) {
        /* What is below this frame is free, less what the gate pushes and a red zone. */
        tops[before] = (char *)(((uintptr_t)__builtin_frame_address(0) - 1024) & ~(uintptr_t)15);
    }
    present = compartment;
    int result = host_gate(function, argument, stack_of(compartment), host_pkru(compartment), rights_now());
    present = before;
    if (before) {
        tops[before] = top;
    }
    return result;
}

int host_attach(void) {
    static struct ia2_exit_host host;
    host = (struct ia2_exit_host){sizeof host, shared_pkru, host_key, stack_of};
    return ia2_exit_attach(&host);
}

/* The object at `address`: its writable pages, less RELRO, get `key`. */
struct wanted {
    uintptr_t address;
    int key;
    bool found;
};

static bool covers(const struct dl_phdr_info *info, uintptr_t address) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && address - info->dlpi_addr - segment->p_vaddr < segment->p_memsz) {
            return true;
        }
    }
    return false;
}

static int tag(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    struct wanted *wanted = argument;
    if (!covers(info, wanted->address)) {
        return 0;
    }
    uintptr_t relro_end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_GNU_RELRO) {
            relro_end = (info->dlpi_addr + segment->p_vaddr + segment->p_memsz) & -(uintptr_t)PAGE;
        }
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W)) {
            continue;
        }
        uintptr_t start = (info->dlpi_addr + segment->p_vaddr) & -(uintptr_t)PAGE;
        uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_memsz + PAGE - 1) & -(uintptr_t)PAGE;
        start = start < relro_end && relro_end <= end ? relro_end : start;
        CHECK(start == end || pkey_mprotect((void *)start, end - start, PROT_READ | PROT_WRITE, wanted->key) == 0);
        wanted->found = true;
    }
    return 1;
}

void host_tag(uint32_t compartment, const void *address) {
    struct wanted wanted = {.address = (uintptr_t)address, .key = keys[compartment]};
    dl_iterate_phdr(tag, &wanted);
    CHECK(wanted.found);
}
