/* Places that debuggers and tracers can stop at: one NOP each, and a note that says where it is and where its argument (SystemTap's
 * format, version 3, as <sys/sdt.h> makes it: gdb's "break -probe", perf and bpftrace read it). The notes stay when symbols are stripped.
 *
 * src/ia2exit/debugger/ relies on the names and arguments below; no name has two meanings. */
#ifndef IA2_PROBE_H
#define IA2_PROBE_H

#define IA2_PROBE(name, pointer)                                                                                       \
    __asm__ volatile("990:    nop\n"                                                                                   \
                     "        .pushsection .note.stapsdt, \"\", \"note\"\n"                                            \
                     "        .balign 4\n"                                                                             \
                     "        .4byte 992f - 991f, 994f - 993f, 3\n"                                                    \
                     "991:    .asciz \"stapsdt\"\n"                                                                    \
                     "992:    .balign 4\n"                                                                             \
                     "993:    .8byte 990b, _.stapsdt.base, 0\n"                                                        \
                     "        .asciz \"libia2\"\n"                                                                     \
                     "        .asciz \"" #name "\"\n"                                                                  \
                     "        .asciz \"8@%0\"\n"                                                                       \
                     "994:    .balign 4\n"                                                                             \
                     "        .popsection\n"                                                                           \
                     "        .ifndef _.stapsdt.base\n"                                                                \
                     "        .pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"               \
                     "        .weak _.stapsdt.base\n"                                                                  \
                     "        .hidden _.stapsdt.base\n"                                                                \
                     "_.stapsdt.base: .space 1\n"                                                                      \
                     "        .size _.stapsdt.base, 1\n"                                                               \
                     "        .popsection\n"                                                                           \
                     "        .endif"                                                                                  \
                     :                                                                                                 \
                     : "r"(pointer))

/* Immediately before a destructor is called, whichever way it runs: its record. */
#define IA2_PROBE_DESTRUCTOR(record) IA2_PROBE(destructor, record)
/* Closed memory was touched, and nothing has been done about it yet: the struct ia2_violation. */
#define IA2_PROBE_VIOLATION(violation) IA2_PROBE(violation, violation)
/* A signal that the runtime cannot explain, while destructors run; it goes on to the program, or ends it: the siginfo_t. */
#define IA2_PROBE_FAULT(info) IA2_PROBE(fault, info)
/* From here on SIGSEGV is the runtime's as a rule, and from there on no longer: the struct ia2_thread that closed or opened memory. */
#define IA2_PROBE_CLOSE(thread) IA2_PROBE(close, thread)
#define IA2_PROBE_OPEN(thread) IA2_PROBE(open, thread)
/* The interrupted code will execute one instruction, then a SIGTRAP comes for the runtime: the struct ia2_thread. */
#define IA2_PROBE_STEP(thread) IA2_PROBE(step, thread)

#endif
