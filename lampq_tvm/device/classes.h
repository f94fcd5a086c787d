/* The class of an A64 instruction word, by the groups of the Arm Architecture Reference Manual (DDI 0487), section C4.1. A
 * class holds what the cores' optimization guides give one throughput. classes.py names them in the same order. */
#include <stdint.h>

enum {
    OTHER, BRANCH, INTEGER, MULTIPLY,
    LOAD, LOAD_VECTOR, LOAD_VECTORS, LOAD_MANY, STORE, STORE_VECTOR, STORE_VECTORS,
    DOT, MATRIX, VECTOR_MULTIPLY, MULTIPLY_LONG, SHIFT, VECTOR, PERMUTE, ZIP, TABLE,
    FLOAT, DIVIDE, CONVERT, TRANSFER
};

#define BITS(word, high, low) ((word) >> (low) & ((1u << ((high) - (low) + 1)) - 1))
#define BIT(word, at) ((word) >> (at) & 1u)

static int memory(uint32_t word) {
    unsigned group = BITS(word, 29, 28), load = BIT(word, 22), several = group == 2;
    if (group == 0 && BIT(word, 26)) several = !BIT(word, 24) && BITS(word, 15, 12) != 7; /* ld1 of one register is 7 */
    if (group == 1) load = !BIT(word, 24) || BITS(word, 23, 22) != 0;                     /* literals; ldapur, stlur */
    if (group == 3 && !BIT(word, 26)) {
        unsigned atomic = !BIT(word, 24) && BIT(word, 21) && BITS(word, 11, 10) == 0;
        load = atomic || BITS(word, 23, 22) != 0; /* 2 and 3 load with their sign */
    }
    if (!BIT(word, 26)) return load ? LOAD : STORE;
    if (load && group == 0 && several && !BIT(word, 15)) return LOAD_MANY; /* three registers or four */
    return load ? (several ? LOAD_VECTORS : LOAD_VECTOR) : several ? STORE_VECTORS : STORE_VECTOR;
}

/* Vector by element, modified immediate, shift by immediate: bit 24 is set. */
static int simd_immediate(uint32_t word) {
    if (BIT(word, 10)) {
        unsigned opcode = BITS(word, 15, 11);
        if (BITS(word, 22, 19) == 0) return VECTOR; /* movi, mvni, fmov */
        return opcode == 0x1c || opcode == 0x1f ? CONVERT : SHIFT;
    }
    unsigned opcode = BITS(word, 15, 12), u = BIT(word, 29);
    if (opcode == 14 || (opcode == 15 && !u)) return DOT;
    unsigned floats = u ? 0x13aa : 0x0233; /* one bit for each opcode: fmla, fmls, fmul, fmulx, fmlal, fcmla */
    if (floats >> opcode & 1) return FLOAT;
    unsigned longs = u ? 0x0444 : 0x0ccc; /* smlal, sqdmlal, smlsl, sqdmlsl, smull, sqdmull */
    return longs >> opcode & 1 ? MULTIPLY_LONG : VECTOR_MULTIPLY;
}

static int three_same(uint32_t word) {
    unsigned opcode = BITS(word, 15, 11);
    if (opcode == 0x1f && BIT(word, 29) && !BIT(word, 23)) return DIVIDE;
    if (opcode >= 0x18) return FLOAT;
    if (opcode == 0x12 || opcode == 0x13 || opcode == 0x16) return VECTOR_MULTIPLY; /* mla, mul, sqdmulh */
    return opcode >= 0x08 && opcode <= 0x0b ? SHIFT : VECTOR;
}

static int two_registers(uint32_t word) {
    unsigned opcode = BITS(word, 16, 12), u = BIT(word, 29);
    if (opcode <= 0x01) return PERMUTE;                                                           /* rev */
    if (opcode == 0x06 || opcode == 0x13 || opcode == 0x14) return SHIFT; /* adalp, shll, sqxtn */
    if (opcode == 0x12 && u) return SHIFT; /* sqxtun */
    if (opcode >= 0x0c && opcode <= 0x0f) return FLOAT;
    if (opcode == 0x1f && u && BIT(word, 23)) return DIVIDE; /* fsqrt */
    return opcode >= 0x16 ? CONVERT : VECTOR;
}

static int simd(uint32_t word) {
    unsigned scalar = BIT(word, 28);
    if (!BIT(word, 21)) {
        if (BIT(word, 15)) {
            unsigned opcode = BITS(word, 14, 11);
            if (!BIT(word, 10)) return OTHER;
            return opcode >= 8 ? FLOAT : opcode >= 4 ? MATRIX : opcode >= 2 ? DOT : VECTOR_MULTIPLY;
        }
        if (BIT(word, 10)) {
            if (BIT(word, 22)) return FLOAT; /* half precision */
            unsigned inside = BIT(word, 29) || scalar || BITS(word, 14, 11) == 0;
            return inside ? PERMUTE : TRANSFER; /* ins, dup; from and to general registers */
        }
        if (scalar) return OTHER; /* sha */
        if (BIT(word, 29)) return PERMUTE; /* ext */
        if (!BIT(word, 11)) return TABLE;
        return BITS(word, 13, 12) == 2 ? PERMUTE : ZIP; /* trn moves within its lanes */
    }
    if (BIT(word, 10)) return three_same(word);
    if (BIT(word, 11)) {
        unsigned group = BITS(word, 20, 17);
        if (group == 0 || group == 12) return two_registers(word);
        if (group != 8) return OTHER; /* aes */
        unsigned opcode = BITS(word, 16, 12); /* across lanes, and a scalar's pair */
        return opcode == 0x0c || opcode == 0x0f || opcode == 0x0d ? FLOAT : SHIFT;
    }
    return BITS(word, 15, 12) >= 8 ? MULTIPLY_LONG : VECTOR; /* long, wide and narrow ones */
}

static int scalar_float(uint32_t word) {
    if (BIT(word, 24)) return FLOAT; /* fmadd */
    if (!BIT(word, 21) || BITS(word, 15, 10) == 0) return TRANSFER;
    if (BITS(word, 14, 10) == 16) {
        unsigned opcode = BITS(word, 20, 15);
        return opcode == 3 ? DIVIDE : opcode < 3 ? FLOAT : CONVERT;
    }
    return BITS(word, 11, 10) == 2 && BITS(word, 15, 12) == 1 ? DIVIDE : FLOAT;
}

static int class_of(uint32_t word) {
    unsigned group = BITS(word, 28, 25);
    if ((group & 5) == 4) return memory(word);
    if ((group & 14) == 8) return INTEGER;
    if ((group & 14) == 10) return BRANCH; /* exceptions and system instructions too */
    if ((group & 7) == 5) return (word & 0x1f000000) == 0x1b000000 || (word & 0x5fe0f800) == 0x1ac00800 ? MULTIPLY : INTEGER;
    if ((group & 7) != 7) return OTHER; /* SVE, SME */
    if (!BIT(word, 31) && (!BIT(word, 28) || BIT(word, 30))) return BIT(word, 24) ? simd_immediate(word) : simd(word);
    return BIT(word, 28) ? scalar_float(word) : OTHER;
}
