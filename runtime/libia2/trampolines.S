/* System calls that must be made on the program's own stack and not in a handler: those whose child gets another stack or shares this
 * one, and those that send a signal to the caller, whose frame would else lie on top of ours. The handler of SIGSYS returns here
 * with the registers of the interrupted code. Such a call changes RAX, RCX (the address behind it) and R11 (the flags), so nothing else
 * may change here, the flags included; and the stack may be shared with a child, so nothing is kept there. */
#include "dispatch.h"
#include <cet.h>

/* Unwinders see the trampoline as a function without a frame that was called from where the system call was. The return address is in
 * a slot of .data, which an expression can reach from here only through a word in .text that says how far it is. */
.macro return_address_by distance
    .cfi_escape 0x10, 16, 5                     /* DW_CFA_expression: register 16 (RIP) is saved at … */
    .cfi_escape 0x80, (\distance - .)           /* DW_OP_breg16: the address of that word, as SLEB128 (less than 64) */
    .cfi_escape 0x12, 0x06, 0x22                /* DW_OP_dup, DW_OP_deref, DW_OP_plus: and what it says */
.endm

/* RCX = return address number `slot`, as SYSCALL would have left it, and go there. No landing pad lies there: notrack. */
.macro go_back distance
    movq    ia2_trampoline_return + 8 * slot(%rip), %rcx
    return_address_by \distance
    notrack jmp *%rcx
.endm

.macro begin name
    .globl  \name
    .hidden \name
    .type   \name, @function
\name:
.endm

    .hidden ia2_trampoline_return
    .hidden ia2_dispatch_selector
    .hidden __ehdr_start
    .hidden etext

    .text
    .p2align 6
begin ia2_trampolines
    .cfi_startproc
    .cfi_def_cfa %rsp, 0
    .set    slot, 0
    .rept   IA2_TRAMPOLINES
    .balign IA2_TRAMPOLINE_SIZE                 /* entry i lies at ia2_trampolines + IA2_TRAMPOLINE_SIZE * i */
    return_address_by 1f
    endbr64
    return_address_by 1f
    syscall
    return_address_by 1f
    go_back 1f
    .balign 8
1:  .quad   ia2_trampoline_return + 8 * slot - .
    .set    slot, slot + 1
    .endr
    .cfi_endproc
    .size   ia2_trampolines, . - ia2_trampolines

    .p2align 6
begin ia2_rearm_trampolines
    .cfi_startproc
    .cfi_def_cfa %rsp, 0
    .set    slot, 0
    .rept   IA2_TRAMPOLINES
    .balign 2 * IA2_TRAMPOLINE_SIZE             /* entry i lies at ia2_rearm_trampolines + 2 * IA2_TRAMPOLINE_SIZE * i */
    return_address_by 1f
    endbr64
    return_address_by 1f
    syscall
    return_address_by 1f
    xchgq   %rax, %rcx                          /* is it 0? Without changing the flags */
    return_address_by 1f
    jrcxz   2f
    return_address_by 1f
    xchgq   %rax, %rcx
    return_address_by 1f
    go_back 1f
2:  return_address_by 1f
    movq    ia2_trampoline_return + 8 * slot(%rip), %rcx
    return_address_by 1f
    jmp     rearm_child
    .balign 8
1:  .quad   ia2_trampoline_return + 8 * slot - .
    .set    slot, slot + 1
    .endr
    .cfi_endproc
    .size   ia2_rearm_trampolines, . - ia2_rearm_trampolines

/* In the child, on a stack that is its own: prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, start, size, selector). A
 * failure leaves the child without dispatch, as the kernel made it. */
    .type   rearm_child, @function
rearm_child:
    .cfi_startproc
    .cfi_def_cfa %rsp, 0
    .cfi_register %rip, %rcx
    leaq    -128(%rsp), %rsp                    /* past the red zone */
    .cfi_adjust_cfa_offset 128
    pushq   %rcx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rip, 0
    pushfq
    .cfi_adjust_cfa_offset 8
    pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    pushq   %rdx
    .cfi_adjust_cfa_offset 8
    pushq   %r10
    .cfi_adjust_cfa_offset 8
    pushq   %r8
    .cfi_adjust_cfa_offset 8
    pushq   %r11
    .cfi_adjust_cfa_offset 8
    movl    $157, %eax                          /* __NR_prctl */
    movl    $59, %edi                           /* PR_SET_SYSCALL_USER_DISPATCH */
    movl    $1, %esi                            /* PR_SYS_DISPATCH_ON */
    leaq    __ehdr_start(%rip), %rdx
    leaq    etext(%rip), %r10
    subq    %rdx, %r10
    movq    %fs:0, %r8
    addq    ia2_dispatch_selector@gottpoff(%rip), %r8
    syscall
    popq    %r11
    .cfi_adjust_cfa_offset -8
    popq    %r8
    .cfi_adjust_cfa_offset -8
    popq    %r10
    .cfi_adjust_cfa_offset -8
    popq    %rdx
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    popfq
    .cfi_adjust_cfa_offset -8
    popq    %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rcx
    leaq    128(%rsp), %rsp
    .cfi_adjust_cfa_offset -128
    movl    $0, %eax                            /* the result in a child; xor would change the flags */
    notrack jmp *%rcx
    .cfi_endproc
    .size   rearm_child, . - rearm_child

/* rt_sigreturn of a frame that the program's own restorer was about to leave: RSP is where that restorer had it. Without CFI and to
 * the letter what glibc's restorer is: unwinders know it by these bytes. */
    .p2align 4
    nop
begin ia2_trampoline_sigreturn
    movq    $15, %rax                           /* __NR_rt_sigreturn */
    syscall
    .size   ia2_trampoline_sigreturn, . - ia2_trampoline_sigreturn

    .section .note.GNU-stack, "", @progbits
