# int host_gate(int (*function)(void *), void *argument, void *stack, uint32_t inside, uint32_t outside)
#
# Calls function(argument) on `stack` with PKRU `inside`, and comes back with PKRU `outside`. Between the two values of
# PKRU nothing is touched: each may close the stack of the other.
        .text
        .globl  host_gate
        .hidden host_gate
        .type   host_gate, @function
host_gate:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp              # in a register of the callee's keeping: the way back
        .cfi_def_cfa_register %rbp
        pushq   %rbx
        pushq   %r12
        .cfi_offset %rbx, -24
        .cfi_offset %r12, -32
        movl    %r8d, %ebx              # PKRU outside
        movq    %rdi, %r12              # the function
        movq    %rsi, %rdi              # its argument
        movq    %rdx, %rsp
        movl    %ecx, %eax              # PKRU inside; ECX and EDX must be 0
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        wrpkru
        callq   *%r12
        movl    %eax, %r12d             # the result
        movl    %ebx, %eax
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        wrpkru
        leaq    -16(%rbp), %rsp
        movl    %r12d, %eax
        popq    %r12
        popq    %rbx
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size   host_gate, . - host_gate
        .section .note.GNU-stack,"",@progbits
