/* Notes for ia2exit, written from C and C++ source: which compartment an object claims, and which of its functions are
 * destructors. They end up in the section `.note.ia2.exit`, which a PT_NOTE segment covers: `ia2exit scan` and
 * `ia2exit map` read it from the file, the runtime from memory. Nothing runs, nothing is relocated at load time.
 *
 * A note is a claim; a policy that names the object overrules it. Layout, all words little-endian, 4-aligned:
 *
 *     type 1, compartment:  namesz 4, descsz 8, type 1, "IA2\0", u32 compartment, u32 0
 *     type 2, destructor:   namesz 4, descsz 16, type 2, "IA2\0", i64 function - here, u32 kind, u32 compartment
 *     type 3, marker:       namesz 4, descsz 0, type 3, "IA2\0"
 *
 * The marker says that the object was built with this header and may have IA2_SHARED_DATA: the runtime then looks for it in the
 * object's file. Each file that includes the header carries one (16 bytes), unless it defines IA2_EXIT_UNMARKED first: for files that use
 * none of the macros.
 *
 * The macros stand at file or namespace scope, end in a semicolon, and work with gcc and clang, -fPIC or not,
 * -O0 to -O3, --gc-sections and link-time optimisation. Sources that use them need no extra compile or link step.
 */
#ifndef IA2_EXIT_NOTE_H
#define IA2_EXIT_NOTE_H

#define IA2_EXIT_NOTE_SECTION ".note.ia2.exit"
#define IA2_EXIT_NOTE_COMPARTMENT 1
#define IA2_EXIT_NOTE_DESTRUCTOR 2
#define IA2_EXIT_NOTE_MARKER 3

/* IA2_EXIT_COMPARTMENT(n): the object that this file is linked into belongs to compartment n (an integer constant
 * expression, 0 to 4095; 0 is shared). Once in an object is enough; twice with different numbers is an error that
 * `ia2exit scan` reports. */
#define IA2_EXIT_COMPARTMENT(n) IA2_NOTE_COMPARTMENT_(IA2_NOTE_NAME_(ia2_note_, __COUNTER__), n)

/* IA2_EXIT_DESTRUCTOR(fn, kind, n): function fn is a destructor of a kind of enum ia2_exit_kind (ia2_exit.h) and runs
 * with the rights of compartment n. Use it in the file that defines fn, after its declaration. fn is an identifier (in
 * C++ a qualified name is fine); it may be static or exported. The entry names this object's own definition of fn, even
 * where another object's would be bound instead.
 *
 * Limit: in C++, gcc -flto may put an exported fn and its note into different partitions; the linker then complains of a
 * relocation in a read-only section (with -Wl,-z,text as an error). Give fn hidden visibility, or link with
 * -flto-partition=none. */
#define IA2_EXIT_DESTRUCTOR(fn, kind, n) IA2_NOTE_DESTRUCTOR_(IA2_NOTE_NAME_(ia2_note_, __COUNTER__), fn, kind, n)

/* IA2_SHARED_DATA: this variable stays open to every compartment. For writable variables of static storage, not for
 * thread-local or const ones:
 *
 *     IA2_SHARED_DATA static struct queue requests;
 *
 * The section is `.ia2.shared`. Protection goes by pages: link the object with `-Wl,-T,ia2_shared.ld` (beside this
 * header), which gives the section pages of its own. Without that the variables work as usual, but only pages that lie
 * wholly inside the section can be kept open. The object must keep its section headers (strip keeps them, sstrip does not), and its
 * file must be in its place when the object is loaded; else the object is not isolated, and its event says so. */
#define IA2_SHARED_DATA __attribute__((section(".ia2.shared")))

/* ---- how it is done ---- */

#define IA2_NOTE_PASTE_(a, b) a##b
#define IA2_NOTE_NAME_(a, b) IA2_NOTE_PASTE_(a, b)

#ifdef __cplusplus
#define IA2_NOTE_CHECK_(condition, text) static_assert(condition, text)
#else
#define IA2_NOTE_CHECK_(condition, text) _Static_assert(condition, text)
#endif

/* Only an asm statement with operands survives renaming of static functions by link-time optimisation, and it must
 * stand in a function: an empty one that nobody calls. "a" and @note: ld keeps SHT_NOTE sections under --gc-sections. */
#define IA2_NOTE_HOLDER_(name) __attribute__((used)) static void name(void)
#define IA2_NOTE_HEAD_(descsz, type)                                                                                   \
    ".pushsection .note.ia2.exit,\"a\",@note\n\t.balign 4\n\t.long 4, " descsz ", " type "\n\t.asciz \"IA2\"\n\t"
#define IA2_NOTE_TAIL_ "\n\t.popsection"

/* Not in a group, which would leave one of many: ld drops a note in a group under --gc-sections. */
#ifndef IA2_EXIT_UNMARKED
__asm__(IA2_NOTE_HEAD_("0", "3") IA2_NOTE_TAIL_);
#endif

#define IA2_NOTE_COMPARTMENT_(name, n)                                                                                 \
    IA2_NOTE_HOLDER_(name) {                                                                                           \
        enum { ia2_compartment_ = (n) };                                                                               \
        __asm__ volatile(IA2_NOTE_HEAD_("8", "1") ".long %c0, 0" IA2_NOTE_TAIL_ : : "i"((int)ia2_compartment_));       \
    }                                                                                                                  \
    IA2_NOTE_CHECK_((n) >= 0 && (n) <= 4095, "a compartment is a number from 0 to 4095")

/* A self-relative word needs a symbol that no other object can preempt, or the link would leave a relocation in a
 * read-only section. `.set` makes a local label at the function's own definition. In C, gcc gets an alias instead: it
 * stays with its function when link-time optimisation splits the program into partitions (C++ has no name to give it).
 * The constraint "X" takes the address of an exported function under -fPIC too, where "i" is refused; the modifiers
 * that print the bare symbol then are p for gcc and c for clang. */
#if defined(__clang__)
#define IA2_NOTE_SYMBOL_ "%c[ia2_fn]"
#else
#define IA2_NOTE_SYMBOL_ "%p[ia2_fn]"
#endif

#if defined(__clang__) || defined(__cplusplus)
#define IA2_NOTE_ALIAS_(name, fn)
#define IA2_NOTE_TARGET_(name, fn) fn
#else
#define IA2_NOTE_ALIAS_(name, fn) static __typeof__(fn) name##_alias __attribute__((alias(#fn), copy(fn)));
#define IA2_NOTE_TARGET_(name, fn) name##_alias
#endif

#define IA2_NOTE_DESTRUCTOR_(name, fn, kind, n)                                                                        \
    IA2_NOTE_ALIAS_(name, fn)                                                                                          \
    IA2_NOTE_HOLDER_(name) {                                                                                           \
        enum { ia2_kind_ = (kind), ia2_compartment_ = (n) };                                                           \
        __asm__ volatile(                                                                                              \
            IA2_NOTE_HEAD_("16", "2") ".set .Lia2_note_%=, " IA2_NOTE_SYMBOL_ "\n\t"                                   \
                                      ".quad .Lia2_note_%= - .\n\t.long %c[ia2_kind], %c[ia2_comp]" IA2_NOTE_TAIL_     \
            :                                                                                                          \
            : [ia2_fn] "X"(IA2_NOTE_TARGET_(name, fn)), [ia2_kind] "i"((int)ia2_kind_),                                \
              [ia2_comp] "i"((int)ia2_compartment_));                                                                  \
    }                                                                                                                  \
    IA2_NOTE_CHECK_((kind) >= 1 && (kind) <= 8 && (n) >= 0 && (n) <= 4095,                                             \
                    "kind is one of enum ia2_exit_kind, a compartment a number from 0 to 4095")

#endif
