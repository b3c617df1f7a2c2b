/* bool ia2_guard_run(void (*work)(void *), void *argument): what guard.h says, as a call that a signal handler can make return.
 *
 * Its frame is all that is needed to leave the work, and ia2_guard_innermost points to it (layout: struct frame in guard.c):
 *
 *     rsp -> previous value of ia2_guard_innermost
 *            SSP at entry, 0 where the thread has no shadow stack
 *            r15, r14, r13, r12, rbx, rbp, return address
 */
#include <cet.h>

    .text
    .globl  ia2_guard_run
    .hidden ia2_guard_run
    .type   ia2_guard_run, @function
    .hidden ia2_guard_innermost
    .p2align 4
ia2_guard_run:
    .cfi_startproc
    _CET_ENDBR
    pushq   %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    pushq   %rbx
    .cfi_def_cfa_offset 24
    .cfi_offset %rbx, -24
    pushq   %r12
    .cfi_def_cfa_offset 32
    .cfi_offset %r12, -32
    pushq   %r13
    .cfi_def_cfa_offset 40
    .cfi_offset %r13, -40
    pushq   %r14
    .cfi_def_cfa_offset 48
    .cfi_offset %r14, -48
    pushq   %r15
    .cfi_def_cfa_offset 56
    .cfi_offset %r15, -56
    xorl    %eax, %eax
    rdsspq  %rax                                    /* a nop, so 0, where there is no shadow stack */
    pushq   %rax
    .cfi_def_cfa_offset 64
    movq    ia2_guard_innermost@gottpoff(%rip), %rbx
    pushq   %fs:(%rbx)
    .cfi_def_cfa_offset 72
    movq    %rsp, %fs:(%rbx)                        /* from here on a fault ends the work */
    subq    $8, %rsp                                /* a call wants rsp to be a multiple of 16 */
    .cfi_def_cfa_offset 80
    movq    %rdi, %rax
    movq    %rsi, %rdi
    call    *%rax
    addq    $8, %rsp
    .cfi_def_cfa_offset 72
    movl    $1, %eax                                /* true */

.Lleave:
    movq    ia2_guard_innermost@gottpoff(%rip), %rcx
    popq    %fs:(%rcx)
    .cfi_def_cfa_offset 64
    popq    %rcx                                    /* SSP: not needed after an ordinary return */
    .cfi_def_cfa_offset 56
    popq    %r15
    .cfi_def_cfa_offset 48
    popq    %r14
    .cfi_def_cfa_offset 40
    popq    %r13
    .cfi_def_cfa_offset 32
    popq    %r12
    .cfi_def_cfa_offset 24
    popq    %rbx
    .cfi_def_cfa_offset 16
    popq    %rbp
    .cfi_def_cfa_offset 8
    ret

/* Where ia2_guard_caught() sends the interrupted code to, with rsp at the frame. The shadow stack is still the work's: drop the
 * entries of the calls that are abandoned, as longjmp does. */
    .globl  ia2_guard_landing
    .hidden ia2_guard_landing
ia2_guard_landing:
    .cfi_def_cfa_offset 72
    xorl    %eax, %eax
    rdsspq  %rax
    movq    8(%rsp), %rcx
    subq    %rax, %rcx                              /* bytes to drop; both are 0 without a shadow stack */
    shrq    $3, %rcx
    je      .Labandoned
    movl    $255, %edx                              /* the most that one incsspq takes: it reads eight bits */
.Ldrop:
    cmpq    %rdx, %rcx
    cmovb   %rcx, %rdx
    incsspq %rdx
    subq    %rdx, %rcx
    jne     .Ldrop
.Labandoned:
    xorl    %eax, %eax                              /* false */
    jmp     .Lleave
    .cfi_endproc
    .size   ia2_guard_run, . - ia2_guard_run

    .section .note.GNU-stack, "", @progbits
