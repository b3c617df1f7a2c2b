# What a destructor finds at its entry: each probe passes the low bits of the stack pointer, as they were before the call
# to it, and its name on to `probed`, by a jump. The ABI (System V x86-64, 3.2.2) wants 0.
    .text
    .macro probe name
    .globl  probe_\name
    .type   probe_\name, @function
probe_\name:
    .cfi_startproc
    endbr64
    leaq    8(%rsp), %rdi
    andl    $15, %edi
    leaq    name_\name(%rip), %rsi
    jmp     probed
    .cfi_endproc
    .size   probe_\name, . - probe_\name
    .pushsection .rodata
name_\name:
    .asciz  "\name"
    .popsection
    .endm

    probe fini
    probe fini_array
    probe cxa_atexit
    probe atexit
    probe on_exit
    probe quick_exit
    probe thread_atexit
    probe pthread_key

    .section .note.GNU-stack, "", @progbits
