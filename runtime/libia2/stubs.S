/* A fini_t, a key's destructor and a quick_exit handler get no argument that could name their record, so each record
 * needs an address of its own. Each entry is 16 bytes: load its number into a register that the call does not use yet,
 * go on to C with everything else untouched (a jump: the return address and the stack alignment stay the caller's). */
#include "stubs.h"
#include <cet.h>

.macro stub_table table, count, register, target
    .hidden \target
    .globl  \table
    .hidden \table
    .type   \table, @function
    .p2align 4
\table:
    .cfi_startproc                  /* CFA = rsp + 8 everywhere: nothing is ever pushed */
    .set    number, 0
    .rept   \count
    .p2align 4                      /* entry i lies at table + 16 * i */
    _CET_ENDBR                      /* called through a pointer: a valid target under IBT */
    movl    $number, %\register     /* i */
    jmp     \target
    .set    number, number + 1
    .endr
    .cfi_endproc
    .size   \table, . - \table
.endm

    .text
    stub_table ia2_fini_stubs, IA2_FINI_STUBS, edi, ia2_run_fini     /* void f(void) */
    stub_table ia2_init_stubs, IA2_INIT_STUBS, ecx, ia2_run_init     /* void f(int, char **, char **): they stay in edi to rdx */
    stub_table ia2_key_stubs, IA2_KEY_STUBS, esi, ia2_run_key        /* void f(void *value): value stays in rdi */
    stub_table ia2_quick_stubs, IA2_QUICK_STUBS, edi, ia2_run_quick  /* void f(void *, int status): status stays in rsi */

    .section .note.GNU-stack, "", @progbits
