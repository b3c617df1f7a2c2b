/* DWARF expressions (DWARF 5, section 2.5), as far as call frames may have them. */
#include "cfi.h"

enum {
    OP_ADDR = 0x03,
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08, /* 1u, 1s, 2u, 2s, 4u, 4s, 8u, 8s */
    OP_CONST8S = 0x0f,
    OP_CONSTU = 0x10,
    OP_CONSTS = 0x11,
    OP_DUP = 0x12,
    OP_DROP = 0x13,
    OP_OVER = 0x14,
    OP_PICK = 0x15,
    OP_SWAP = 0x16,
    OP_AND = 0x1a,
    OP_MINUS = 0x1c,
    OP_MUL = 0x1e,
    OP_NEG = 0x1f,
    OP_NOT = 0x20,
    OP_OR = 0x21,
    OP_PLUS = 0x22,
    OP_PLUS_UCONST = 0x23,
    OP_SHL = 0x24,
    OP_SHR = 0x25,
    OP_SHRA = 0x26,
    OP_XOR = 0x27,
    OP_EQ = 0x29,
    OP_GE = 0x2a,
    OP_GT = 0x2b,
    OP_LE = 0x2c,
    OP_LT = 0x2d,
    OP_NE = 0x2e,
    OP_LIT0 = 0x30,
    OP_LIT31 = 0x4f,
    OP_BREG0 = 0x70,
    OP_BREG31 = 0x8f,
    OP_DEREF_SIZE = 0x94,
    OP_NOP = 0x96,
};

#define DEPTH 16

struct stack {
    uint64_t value[DEPTH];
    size_t count;
    bool bad; /* it ran over or under */
};

static void push(struct stack *stack, uint64_t value) {
    if (stack->count == DEPTH) {
        stack->bad = true;
    } else {
        stack->value[stack->count++] = value;
    }
}

/* The value `depth` below the top. */
static uint64_t peek(struct stack *stack, uint64_t depth) {
    if (depth >= stack->count) {
        stack->bad = true;
        return 0;
    }
    return stack->value[stack->count - 1 - depth];
}

static uint64_t pop(struct stack *stack) {
    uint64_t value = peek(stack, 0);
    stack->count -= stack->count ? 1 : 0;
    return value;
}

/* A number of `size` bytes in memory, at most 8. */
static uint64_t load(uintptr_t address, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)ia2_load_byte(address + i) << (8 * i);
    }
    return value;
}

/* Operations that put a number on the stack. Returns false for any other. */
static bool push_operand(uint8_t op, struct ia2_bytes *from, const struct ia2_frame *frame, struct stack *stack) {
    if (op >= OP_LIT0 && op <= OP_LIT31) {
        push(stack, op - OP_LIT0);
    } else if (op >= OP_BREG0 && op <= OP_BREG31) {
        uint64_t offset = (uint64_t)ia2_take_sleb(from);
        stack->bad |= op - OP_BREG0 >= IA2_FRAME_REGISTERS;
        push(stack, stack->bad ? 0 : frame->reg[op - OP_BREG0] + offset);
    } else if (op >= OP_CONST1U && op <= OP_CONST8S) {
        size_t size = (size_t)1 << ((op - OP_CONST1U) >> 1);
        push(stack, op & 1 ? (uint64_t)ia2_take_signed(from, size) : ia2_take(from, size));
    } else if (op == OP_ADDR) {
        push(stack, ia2_take(from, 8));
    } else if (op == OP_CONSTU) {
        push(stack, ia2_take_uleb(from));
    } else if (op == OP_CONSTS) {
        push(stack, (uint64_t)ia2_take_sleb(from));
    } else {
        return false;
    }
    return true;
}

/* Operations that change what is on the stack, and take one number from it at most. Returns false for any other. */
static bool change(uint8_t op, struct ia2_bytes *from, struct stack *stack) {
    switch (op) {
    case OP_DEREF:
    case OP_DEREF_SIZE: {
        uint64_t size = op == OP_DEREF ? 8 : ia2_take(from, 1);
        uintptr_t address = pop(stack);
        stack->bad |= size > 8;
        push(stack, stack->bad ? 0 : load(address, size));
        return true;
    }
    case OP_DUP:
        push(stack, peek(stack, 0));
        return true;
    case OP_DROP:
        pop(stack);
        return true;
    case OP_OVER:
        push(stack, peek(stack, 1));
        return true;
    case OP_PICK:
        push(stack, peek(stack, ia2_take(from, 1)));
        return true;
    case OP_NEG:
        push(stack, -pop(stack));
        return true;
    case OP_NOT:
        push(stack, ~pop(stack));
        return true;
    case OP_PLUS_UCONST:
        push(stack, pop(stack) + ia2_take_uleb(from));
        return true;
    case OP_NOP:
        return true;
    default:
        return false;
    }
}

/* Operations that turn two numbers into one (or, for a swap, two). Returns false for any other. */
static bool combine(uint8_t op, struct stack *stack) {
    uint64_t b = pop(stack);
    uint64_t a = pop(stack);
    int64_t left = (int64_t)a; /* comparisons and one of the shifts are of signed numbers */
    int64_t right = (int64_t)b;
    uint64_t result;
    switch (op) {
    case OP_SWAP:
        push(stack, b);
        result = a;
        break;
    case OP_AND:
        result = a & b;
        break;
    case OP_OR:
        result = a | b;
        break;
    case OP_XOR:
        result = a ^ b;
        break;
    case OP_PLUS:
        result = a + b;
        break;
    case OP_MINUS:
        result = a - b;
        break;
    case OP_MUL:
        result = a * b;
        break;
    case OP_SHL:
        result = b < 64 ? a << b : 0;
        break;
    case OP_SHR:
        result = b < 64 ? a >> b : 0;
        break;
    case OP_SHRA:
        result = (uint64_t)(left >> (b < 64 ? b : 63));
        break;
    case OP_EQ:
        result = left == right;
        break;
    case OP_GE:
        result = left >= right;
        break;
    case OP_GT:
        result = left > right;
        break;
    case OP_LE:
        result = left <= right;
        break;
    case OP_LT:
        result = left < right;
        break;
    case OP_NE:
        result = left != right;
        break;
    default:
        return false;
    }
    push(stack, result);
    return true;
}

bool ia2_cfi_evaluate(struct ia2_bytes expression, const struct ia2_frame *frame, const uintptr_t *cfa,
                      uintptr_t *value) {
    struct stack stack = {0};
    if (cfa) {
        push(&stack, *cfa);
    }
    while (expression.at < expression.end && !expression.bad && !stack.bad) {
        uint8_t op = (uint8_t)ia2_take(&expression, 1);
        if (!push_operand(op, &expression, frame, &stack) && !change(op, &expression, &stack) && !combine(op, &stack)) {
            return false;
        }
    }
    *value = pop(&stack);
    return !expression.bad && !stack.bad;
}
