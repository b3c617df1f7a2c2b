/* An instruction that does nothing and that no compiler makes: steps.c looks for it. */
#ifndef MARKER_H
#define MARKER_H

#define MARKER_DISPLACEMENT 0x01a2e817

/* nopl MARKER_DISPLACEMENT(%rax) */
#define MARK() __asm__ volatile(".byte 0x0f, 0x1f, 0x80\n.long 0x01a2e817")

#endif
