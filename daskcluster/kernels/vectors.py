"""What the loops ask of LLVM by name, since it does not find these for many numbers by itself."""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
from llvmlite import ir
from numba.extending import intrinsic

from daskcluster.sizing import LANES


@intrinsic
def lesser(typing, a, b):
    """The lesser of two float32, neither of them NaN."""

    def generate(context, builder, signature, arguments):
        single = ir.FloatType()
        kind = ir.FunctionType(single, [single, single])
        lesser = builder.module.declare_intrinsic("llvm.minnum", [single], kind)
        return builder.call(lesser, arguments, fastmath=("nnan", "nsz", "reassoc"))

    return numba.float32(numba.float32, numba.float32), generate


@intrinsic
def not_above_zero(typing, row, start):
    """Which of 16 float32 from a place of a row on are not above 0: a bit each."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(ir.FloatType(), LANES)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), lanes.as_pointer())
        numbers = builder.load(place, align=4)
        bits = builder.fcmp_unordered("<=", numbers, ir.Constant(lanes, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), ir.IntType(64))

    return numba.uint64(row, numba.intp), generate


@intrinsic
def first_bit(typing, bits):
    """The place of the lowest bit that is set in a number that is not 0."""

    def generate(context, builder, signature, arguments):
        whole = ir.IntType(64)
        kind = ir.FunctionType(whole, [whole, ir.IntType(1)])
        count = builder.module.declare_intrinsic("llvm.cttz", [whole], kind)
        return builder.call(count, [arguments[0], ir.Constant(ir.IntType(1), 1)])

    return numba.int64(numba.uint64), generate


@intrinsic
def fetch(typing, row, place):
    """Have the cache line of an element of a row brought near; nobody waits for it."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        bring = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        # To read, for some time, as data.
        builder.call(bring, [address, *(ir.Constant(word, n) for n in (0, 2, 1))])
        return context.get_dummy_value()

    return numba.void(row, numba.intp), generate
