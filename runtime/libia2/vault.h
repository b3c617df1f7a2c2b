/* Memory that is the runtime's alone: what every compartment is kept out of while destructors run (docs/exit-handling.md). */
#ifndef IA2_VAULT_H
#define IA2_VAULT_H

/* For variables: they lie together in a section of their own, which the runtime protects with a key of its own. */
#define IA2_VAULT __attribute__((section(".ia2.vault")))

/* For large arrays, of which a process touches little: apart from the small variables, which then share a page or two. Not in the
 * file either (the comment sign hides what the compiler adds). */
#define IA2_LARGE __attribute__((section(".ia2.large,\"aw\",@nobits#")))

#endif
