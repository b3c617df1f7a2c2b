/* What the running code may write to, asked of the kernel and the processor, not of the runtime. Part of the log's library,
 * which is shared: callable from a destructor that has only its owner's memory open. */
#ifndef DL_DEBUG_RIGHTS_H
#define DL_DEBUG_RIGHTS_H

/* From now on `memory` stands for the compartment. Called by constructors. */
void rights_owns(int compartment, const void *memory);

/* `FUNCTION pkru=HEX open=1,2`: the register (0 where there is none) and the compartments whose memory is open. */
void rights_write(int descriptor, const char *function);

#endif
