/* Memory that is the runtime's alone: what every compartment is kept out of while destructors run (docs/exit-handling.md). */
#ifndef IA2_VAULT_H
#define IA2_VAULT_H

/* For variables: they lie together in a section of their own, which the runtime protects with a key of its own. */
#define IA2_VAULT __attribute__((section(".ia2.vault")))

#endif
