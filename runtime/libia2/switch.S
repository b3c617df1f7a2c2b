/* Calling a destructor, with and without another PKRU, and the instructions that write it.
 *
 * Every WRPKRU of the runtime is in this file. Each that closes is followed by a comparison of the register with memory that only the
 * runtime can write (ia2_sealed.wanted_alias, found relative to RIP), so that a jump into the middle of it gains nothing. */
#include "switch.h"
#include <cet.h>

/* struct ia2_call */
#define CALL_FUNCTION 0
#define CALL_ARGUMENTS 8
#define CALL_STACK 32
#define CALL_SLOT 40
#define CALL_PLACE 44

/* Begins and ends a function that the rest of the runtime calls. */
.macro function name
    .globl  \name
    .hidden \name
    .type   \name, @function
    .p2align 4
\name:
    .cfi_startproc
    _CET_ENDBR
.endm
.macro end name
    .cfi_endproc
    .size   \name, . - \name
.endm

/* PKRU = EAX. WRPKRU wants ECX and EDX to be 0 (Intel SDM volume 2). */
.macro load_pkru
    xorl    %ecx, %ecx
    xorl    %edx, %edx
    wrpkru
.endm

/* The same where it closes memory. IA2_WITHOUT_SWITCH: a runtime for the tests alone, in which nothing is closed and nothing else is
 * different; what they say about enforcement must fail with it (tests/guest). Changes R9 there. */
.macro load_rights
#ifdef IA2_WITHOUT_SWITCH
    movl    %eax, %r9d
    xorl    %eax, %eax
#endif
    load_pkru
#ifdef IA2_WITHOUT_SWITCH
    movl    %r9d, %eax
#endif
.endm

/* EAX must be what the runtime wanted for the thread slot in \index (\index32 is its lower half). Changes RDX. */
.macro verify_pkru index, index32
    andl    $(IA2_THREADS - 1), %\index32       /* an index that cannot leave the table */
    movq    ia2_sealed + IA2_SEALED_ALIAS(%rip), %rdx
    cmpl    (%rdx, %\index, 4), %eax
    jne     .Lbroken
.endm

/* EAX = what the code around a call had, for the thread slot in \index, with the runtime's memory open. Changes RCX and RDX. */
.macro pkru_around index, index32
    andl    $(IA2_THREADS - 1), %\index32
    movq    ia2_sealed + IA2_SEALED_ALIAS(%rip), %rdx
    movl    IA2_AROUND(%rdx, %\index, 4), %ecx
    movl    ia2_sealed + IA2_SEALED_BITS(%rip), %edx
    notl    %edx
    andl    %edx, %ecx
.endm

    .text

/* void ia2_pkru_open(uint32_t value)
 *
 * Opens the runtime's memory, which is where the value is then checked: a thread that runs a destructor may have what that destructor
 * has, or what the kernel gives a signal handler. Which thread this is, the %fs base says, not a register. And it returns to the
 * runtime's own text only. */
function ia2_pkru_open
    movl    %edi, %eax
    load_pkru
    movl    ia2_sealed + IA2_SEALED_BITS(%rip), %ecx
    orl     %ecx, %eax
    orl     $IA2_PKRU_HANDLER, %ecx
    cmpl    %ecx, %eax
    je      4f
    movq    %fs:0, %rdx                         /* the control block's own address: the same, where RDFSBASE is not allowed */
    testb   $1, ia2_sealed + IA2_SEALED_FSGSBASE(%rip)
    jz      1f
    rdfsbase %rdx
1:  leaq    ia2_threads(%rip), %r8
    movq    ia2_thread_hint@gottpoff(%rip), %rcx
    movl    %fs:(%rcx), %ecx                    /* a guess, which saves the search */
    andl    $(IA2_THREADS - 1), %ecx
    imulq   $IA2_THREAD_SIZE, %rcx, %rcx
    addq    %r8, %rcx
    cmpq    %rdx, (%rcx)
    je      3f
    leaq    IA2_THREADS * IA2_THREAD_SIZE(%r8), %r9
2:  movq    %r8, %rcx
    cmpq    %rdx, (%rcx)
    je      3f
    addq    $IA2_THREAD_SIZE, %r8
    cmpq    %r9, %r8
    jb      2b
    jmp     4f                                  /* a thread that has not run a destructor yet */
3:  cmpw    $0, IA2_THREAD_DEPTH(%rcx)
    je      4f
    cmpl    IA2_THREAD_PKRU(%rcx), %eax
    jne     .Lbroken
4:  movq    (%rsp), %rax
    leaq    __ehdr_start(%rip), %rdx
    cmpq    %rdx, %rax
    jb      .Lbroken
    leaq    etext(%rip), %rdx
    cmpq    %rdx, %rax
    jae     .Lbroken
    ret
end ia2_pkru_open

/* void ia2_pkru_close(uint32_t value, uint32_t slot) */
function ia2_pkru_close
    movl    %edi, %eax
    load_rights
    verify_pkru rsi, esi
    ret
end ia2_pkru_close

/* void ia2_pkru_legacy(void): everything open, where the constructor chose legacy mode. */
function ia2_pkru_legacy
    xorl    %eax, %eax
    load_pkru
    cmpb    $0, ia2_sealed + IA2_SEALED_LEGACY(%rip)
    je      .Lbroken
    ret
end ia2_pkru_legacy

.Lbroken:
    ud2                                         /* PKRU is not what the runtime wanted: end here and now */

/* What the caller of a call expects to be kept, and at the bottom of it: MXCSR, the x87 control word, the shadow stack's pointer. */
.macro save_frame
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq    %rsp, %rbp                          /* the CFA is found from RBP: RSP may go to another stack */
    .cfi_def_cfa_register %rbp
    pushq   %rbx
    .cfi_offset %rbx, -24
    pushq   %r12
    .cfi_offset %r12, -32
    pushq   %r13
    .cfi_offset %r13, -40
    pushq   %r14
    .cfi_offset %r14, -48
    pushq   %r15
    .cfi_offset %r15, -56
    subq    $24, %rsp                           /* the stack is aligned to 16 again */
    stmxcsr (%rsp)
    fnstcw  4(%rsp)
    xorl    %eax, %eax
    rdsspq  %rax                                /* 0 where there is no shadow stack */
    movq    %rax, 8(%rsp)
.endm

/* RSP is what save_frame left; EAX is the result. */
.macro restore_frame
    addq    $24, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbx
    popq    %rbp
    .cfi_def_cfa %rsp, 8
    .cfi_restore %rbp
    .cfi_restore %rbx
    .cfi_restore %r12
    .cfi_restore %r13
    .cfi_restore %r14
    .cfi_restore %r15
    ret
.endm

/* Where a call was abandoned: the floating-point environment and the shadow stack go back to what they were before it. */
.macro recover
    cld
    ldmxcsr (%rsp)
    fldcw   4(%rsp)
    xorl    %eax, %eax
    rdsspq  %rax
    testq   %rax, %rax
    jz      2f
    movq    8(%rsp), %rdx
    subq    %rax, %rdx                          /* bytes of return addresses to drop */
    shrq    $3, %rdx
1:  testq   %rdx, %rdx
    jz      2f
    movl    $255, %ecx                          /* INCSSP takes the low 8 bits */
    cmpq    %rcx, %rdx
    cmovbq  %rdx, %rcx
    incsspq %rcx
    subq    %rcx, %rdx
    jmp     1b
2:
.endm

/* RDI is the struct ia2_call: takes everything out of it, the function into RBX, the slot into R12, the place of the stack
 * pointer into R14, and goes to its stack. */
.macro take_call
    movq    CALL_FUNCTION(%rdi), %rbx
    movl    CALL_SLOT(%rdi), %r12d
    movl    CALL_PLACE(%rdi), %r14d
    leaq    ia2_call_sp(%rip), %rax
    movq    %rsp, (%rax, %r14, 8)
    movq    CALL_STACK(%rdi), %rcx
    movq    CALL_ARGUMENTS + 8(%rdi), %rsi
    movq    CALL_ARGUMENTS + 16(%rdi), %r8
    movq    CALL_ARGUMENTS(%rdi), %rdi
    testq   %rcx, %rcx
    cmovnzq %rcx, %rsp
.endm

/* bool ia2_call(const struct ia2_call *call) */
function ia2_call
    save_frame
    take_call
    movq    %r8, %rdx
    call    *%rbx
    leaq    -IA2_CALL_FRAME(%rbp), %rsp              /* back from that stack */
    xorl    %eax, %eax
    .cfi_remember_state
    restore_frame
    .cfi_restore_state
    .globl  ia2_call_abandoned
    .hidden ia2_call_abandoned
ia2_call_abandoned:
    recover
    movl    $1, %eax
    restore_frame
end ia2_call

/* bool ia2_call_pku(const struct ia2_call *call) */
function ia2_call_pku
    save_frame
    take_call
    movq    ia2_sealed + IA2_SEALED_ALIAS(%rip), %rax
    movl    (%rax, %r12, 4), %eax
    load_rights                                 /* of what is called */
    verify_pkru r12, r12d
    movq    %r8, %rdx
    call    *%rbx
    xorl    %r13d, %r13d
.Lreopen:
    pkru_around r12, r12d
    movl    %ecx, %eax
    load_pkru                                   /* the runtime's memory is open from here on */
    movl    %eax, %ebx
    pkru_around r12, r12d
    cmpl    %ecx, %ebx
    jne     .Lbroken
    andl    $(2 * IA2_THREADS - 1), %r14d
    leaq    ia2_call_sp(%rip), %rdx
    movq    (%rdx, %r14, 8), %rsp               /* not from a register or a stack that the destructor could write */
    leaq    IA2_CALL_FRAME(%rsp), %rbp
    testl   %r13d, %r13d
    jz      3f
    recover
3:  movl    %r13d, %eax
    .cfi_remember_state
    restore_frame
    .cfi_restore_state
    .hidden __ehdr_start
    .hidden etext
    .globl  ia2_call_pku_abandoned
    .hidden ia2_call_pku_abandoned
ia2_call_pku_abandoned:
    movl    $1, %r13d
    jmp     .Lreopen
end ia2_call_pku

/* Not a function: the return address of our signal handlers. Without CFI, and to the letter what glibc's restorer is, because
 * unwinders know a signal frame by these bytes; gdb looks at them only where the name has "sigaction" in it
 * (amd64_linux_sigtramp_p). */
    .globl  ia2_sigaction_return
    .hidden ia2_sigaction_return
    .type   ia2_sigaction_return, @function
    .p2align 4
    nop                                         /* unwinders look up the address before the return address */
ia2_sigaction_return:
    movq    $15, %rax                           /* __NR_rt_sigreturn */
    syscall
    .size   ia2_sigaction_return, . - ia2_sigaction_return

    .section .note.GNU-stack, "", @progbits
