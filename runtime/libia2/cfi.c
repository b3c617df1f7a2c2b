#include "cfi.h"

/* Call frame instructions (DWARF 5, section 7.24; LSB 5.0, 10.5.2). The first three have an operand in their low six bits. */
enum {
    ADVANCE_LOC = 0x40,
    OFFSET = 0x80,
    RESTORE = 0xc0,
    NOP = 0x00,
    SET_LOC = 0x01,
    ADVANCE_LOC1 = 0x02,
    ADVANCE_LOC2 = 0x03,
    ADVANCE_LOC4 = 0x04,
    OFFSET_EXTENDED = 0x05,
    RESTORE_EXTENDED = 0x06,
    UNDEFINED = 0x07,
    SAME_VALUE = 0x08,
    REGISTER = 0x09,
    REMEMBER_STATE = 0x0a,
    RESTORE_STATE = 0x0b,
    DEF_CFA = 0x0c,
    DEF_CFA_REGISTER = 0x0d,
    DEF_CFA_OFFSET = 0x0e,
    DEF_CFA_EXPRESSION = 0x0f,
    EXPRESSION = 0x10,
    OFFSET_EXTENDED_SF = 0x11,
    DEF_CFA_SF = 0x12,
    DEF_CFA_OFFSET_SF = 0x13,
    VAL_OFFSET = 0x14,
    VAL_OFFSET_SF = 0x15,
    VAL_EXPRESSION = 0x16,
    GNU_ARGS_SIZE = 0x2e,
    GNU_NEGATIVE_OFFSET_EXTENDED = 0x2f,
};

enum how { KEPT, LOST, AT_OFFSET, IS_OFFSET, IN_REGISTER, AT_EXPRESSION, IS_EXPRESSION };

/* Where the caller's value of a register is: `value` is an offset from the CFA, a register, or the address of an expression. */
struct rule {
    enum how how;
    int64_t value;
};

/* One row of the table that the instructions describe (DWARF 5, section 6.4.1). */
struct row {
    struct rule cfa; /* IN_REGISTER, with `cfa_offset`, or IS_EXPRESSION */
    int64_t cfa_offset;
    struct rule rule[IA2_FRAME_REGISTERS];
};

#define REMEMBERED 4 /* compilers need one, people who write assembler two */

struct table {
    struct row row;   /* at `location` */
    struct row first; /* after the CIE's instructions */
    struct row remembered[REMEMBERED];
    size_t depth;
    uintptr_t location;
    bool bad;
};

static void set(struct table *table, uint64_t number, enum how how, int64_t value) {
    if (number < IA2_FRAME_REGISTERS) { /* of the others (vector registers) none is needed to go on */
        table->row.rule[number] = (struct rule){how, value};
    }
}

static void restore(struct table *table, uint64_t number) {
    if (number < IA2_FRAME_REGISTERS) {
        table->row.rule[number] = table->first.rule[number];
    }
}

static void set_cfa(struct table *table, uint64_t number, int64_t offset) {
    table->bad |= number >= IA2_FRAME_REGISTERS;
    table->row.cfa = (struct rule){IN_REGISTER, (int64_t)number};
    table->row.cfa_offset = offset;
}

/* The address of an expression, which begins with its length; the reader goes past it. */
static int64_t take_expression(struct ia2_bytes *from) {
    int64_t place = (int64_t)(uintptr_t)from->at;
    ia2_take_bytes(from, ia2_take_uleb(from));
    return place;
}

static int64_t take_factored(struct ia2_bytes *from, bool with_sign, int64_t factor) {
    return (int64_t)(ia2_take_leb(from, with_sign) * (uint64_t)factor);
}

/* Instructions about the CFA. Returns false for any other. */
static bool define_cfa(uint8_t op, struct ia2_bytes *from, int64_t factor, struct table *table) {
    uint64_t number = (uint64_t)table->row.cfa.value;
    switch (op) {
    case DEF_CFA:
        number = ia2_take_uleb(from);
        set_cfa(table, number, (int64_t)ia2_take_uleb(from));
        return true;
    case DEF_CFA_SF:
        number = ia2_take_uleb(from);
        set_cfa(table, number, take_factored(from, true, factor));
        return true;
    case DEF_CFA_REGISTER:
        set_cfa(table, ia2_take_uleb(from), table->row.cfa_offset);
        return true;
    case DEF_CFA_OFFSET:
        set_cfa(table, number, (int64_t)ia2_take_uleb(from));
        return true;
    case DEF_CFA_OFFSET_SF:
        set_cfa(table, number, take_factored(from, true, factor));
        return true;
    case DEF_CFA_EXPRESSION:
        table->row.cfa = (struct rule){IS_EXPRESSION, take_expression(from)};
        return true;
    default:
        return false;
    }
}

/* Instructions about one register, whose number is their first operand. Returns false for any other. */
static bool define_register(uint8_t op, struct ia2_bytes *from, int64_t factor, struct table *table) {
    struct ia2_bytes before = *from;
    uint64_t number = ia2_take_uleb(from);
    switch (op) {
    case OFFSET_EXTENDED:
    case OFFSET_EXTENDED_SF:
        set(table, number, AT_OFFSET, take_factored(from, op == OFFSET_EXTENDED_SF, factor));
        return true;
    case GNU_NEGATIVE_OFFSET_EXTENDED:
        set(table, number, AT_OFFSET, -take_factored(from, false, factor));
        return true;
    case VAL_OFFSET:
    case VAL_OFFSET_SF:
        set(table, number, IS_OFFSET, take_factored(from, op == VAL_OFFSET_SF, factor));
        return true;
    case EXPRESSION:
    case VAL_EXPRESSION:
        set(table, number, op == EXPRESSION ? AT_EXPRESSION : IS_EXPRESSION, take_expression(from));
        return true;
    case REGISTER:
        set(table, number, IN_REGISTER, (int64_t)ia2_take_uleb(from));
        return true;
    case RESTORE_EXTENDED:
        restore(table, number);
        return true;
    case UNDEFINED:
    case SAME_VALUE:
        set(table, number, op == UNDEFINED ? LOST : KEPT, 0);
        return true;
    default:
        *from = before;
        return false;
    }
}

/* Instructions that move on or keep rows. Returns false for any other. */
static bool move(uint8_t op, struct ia2_bytes *from, uint64_t factor, struct table *table) {
    switch (op) {
    case NOP:
        return true;
    case ADVANCE_LOC1:
    case ADVANCE_LOC2:
    case ADVANCE_LOC4:
        table->location += ia2_take(from, (size_t)1 << (op - ADVANCE_LOC1)) * factor;
        return true;
    case REMEMBER_STATE:
        table->bad |= table->depth == REMEMBERED;
        if (!table->bad) {
            table->remembered[table->depth++] = table->row;
        }
        return true;
    case RESTORE_STATE:
        table->bad |= table->depth == 0;
        if (!table->bad) {
            table->row = table->remembered[--table->depth];
        }
        return true;
    case GNU_ARGS_SIZE: /* for those who land in a handler of exceptions */
        ia2_take_uleb(from);
        return true;
    default: /* SET_LOC included: no compiler writes it for this machine */
        return false;
    }
}

/* Executes instructions as far as they concern `address`. */
static bool execute(const struct ia2_cfi *cfi, struct ia2_bytes from, uintptr_t address, struct table *table) {
    while (from.at < from.end && !from.bad && !table->bad && table->location <= address) {
        uint8_t op = (uint8_t)ia2_take(&from, 1);
        uint8_t operand = op & 0x3f;
        switch (op & 0xc0) {
        case ADVANCE_LOC:
            table->location += operand * cfi->code_alignment;
            break;
        case OFFSET:
            set(table, operand, AT_OFFSET, take_factored(&from, false, cfi->data_alignment));
            break;
        case RESTORE:
            restore(table, operand);
            break;
        default:
            table->bad |= !move(op, &from, cfi->code_alignment, table) &&
                          !define_cfa(op, &from, cfi->data_alignment, table) &&
                          !define_register(op, &from, cfi->data_alignment, table);
        }
    }
    return !from.bad && !table->bad;
}

/* The caller's value of one register. */
static bool find_value(struct rule rule, const struct ia2_frame *frame, const uintptr_t *cfa, uintptr_t *value) {
    struct ia2_bytes expression;
    switch (rule.how) {
    case KEPT:
        return true;
    case LOST:
        *value = 0;
        return true;
    case AT_OFFSET:
        *value = ia2_load(*cfa + (uintptr_t)rule.value);
        return true;
    case IS_OFFSET:
        *value = *cfa + (uintptr_t)rule.value;
        return true;
    case IN_REGISTER:
        if (rule.value < 0 || rule.value >= IA2_FRAME_REGISTERS) {
            return false;
        }
        *value = frame->reg[rule.value];
        return true;
    case AT_EXPRESSION:
    case IS_EXPRESSION:
        expression.at = (const uint8_t *)rule.value;
        expression.end =
            expression.at + UINT16_MAX; /* its length comes first, and was checked when the rule was made */
        expression.bad = false;
        expression = ia2_take_bytes(&expression, ia2_take_uleb(&expression));
        if (!ia2_cfi_evaluate(expression, frame, cfa, value)) {
            return false;
        }
        *value = rule.how == AT_EXPRESSION ? ia2_load(*value) : *value;
        return true;
    }
    return false;
}

bool ia2_cfi_step(const struct ia2_cfi *cfi, struct ia2_frame *frame) {
    /* A call that never returns may be the last instruction of its function: look at the call, not at what comes after it. */
    uintptr_t address = frame->reg[IA2_RIP] - (frame->exact ? 0 : 1);
    struct table table;
    table.row = (struct row){0};
    table.depth = 0;
    table.location = cfi->function;
    table.bad = false;
    if (!execute(cfi, cfi->initial, UINTPTR_MAX, &table)) {
        return false;
    }
    table.first = table.row;
    if (!execute(cfi, cfi->program, address, &table)) {
        return false;
    }
    uintptr_t cfa = 0;
    if (table.row.cfa.how == KEPT || !find_value(table.row.cfa, frame, NULL, &cfa)) {
        return false;
    }
    cfa += table.row.cfa.how == IN_REGISTER ? (uintptr_t)table.row.cfa_offset : 0;
    struct ia2_frame caller = *frame;
    caller.reg[IA2_RSP] = cfa; /* unless a rule says otherwise */
    for (unsigned i = 0; i < IA2_FRAME_REGISTERS; i++) {
        if (!find_value(table.row.rule[i], frame, &cfa, &caller.reg[i])) {
            return false;
        }
    }
    caller.exact = cfi->signal_frame;
    *frame = caller;
    return true;
}
