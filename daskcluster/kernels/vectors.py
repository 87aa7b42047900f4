"""What the loops ask of LLVM by name, since it does not find these for many numbers by itself."""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic

from daskcluster.sizing import LANES

_AHEAD = 96  # elements: fetched sooner, they are there when they are needed


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
def not_above_zero(typing, table, row, start):
    """Which of 16 float32 from a place of a row of a table on are not above 0: a bit each."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(ir.FloatType(), LANES)
        at = builder.mul(arguments[1], builder.extract_value(array.shape, 1))
        at = builder.add(at, arguments[2])
        place = builder.bitcast(builder.gep(array.data, [at]), lanes.as_pointer())
        numbers = builder.load(place, align=4)
        bits = builder.fcmp_unordered("<=", numbers, ir.Constant(lanes, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), ir.IntType(64))

    return numba.uint64(table, numba.intp, numba.intp), generate


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


@intrinsic
def fused(typing, a, b, c):
    """``a * b + c`` of float64, rounded once."""

    def generate(context, builder, signature, arguments):
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fma", [double], kind), arguments)

    return numba.float64(*[numba.float64] * 3), generate


@intrinsic
def bits(typing, number):
    """The bits of a float64, as an integer."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return numba.int64(numba.float64), generate


@intrinsic
def add_products(typing, data, indices, columns, begin, end, group, out, n_runs):
    """Products of a sparse row with so many runs of columns, kept in registers on the way.

    ``out[group:]`` gets, for each of ``n_runs * LANES`` columns, the sum of
    ``data[e] * columns[indices[e], column]`` over ``begin <= e < end``, in float32.
    """
    if not isinstance(n_runs, types.IntegerLiteral):
        raise errors.RequireLiteralValue(n_runs)
    n = n_runs.literal_value
    place = numba.intp
    kinds = data, indices, columns, place, place, place, out, n_runs

    def generate(context, builder, signature, arguments):
        lanes = ir.VectorType(ir.FloatType(), LANES)
        rows, places, table, into = (
            context.make_array(signature.args[i])(context, builder, arguments[i])
            for i in (0, 1, 2, 6)
        )
        first, last, group = arguments[3:6]
        width = builder.extract_value(table.shape, 1)
        run = context.get_constant(place, LANES)
        sums = [
            cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * LANES)) for _ in range(n)
        ]
        step = context.get_constant(place, 1)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        bring = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        stored = builder.extract_value(places.shape, 0)
        with cgutils.for_range_slice(builder, first, last, step) as (e, _):
            later = builder.add(e, context.get_constant(place, _AHEAD))
            later = builder.select(builder.icmp_signed("<", later, stored), later, e)
            later = builder.load(builder.gep(places.data, [later]))
            later = context.cast(builder, later, signature.args[1].dtype, place)
            later = builder.add(builder.mul(later, width), group)
            for _ in range(n):
                address = builder.bitcast(builder.gep(table.data, [later]), byte)
                # To read, again and again, as data.
                builder.call(bring, [address, *(ir.Constant(word, m) for m in (0, 3, 1))])
                later = builder.add(later, run)
            value = builder.load(builder.gep(rows.data, [e]))
            value = context.cast(builder, value, signature.args[0].dtype, types.float32)
            at = builder.load(builder.gep(places.data, [e]))
            at = context.cast(builder, at, signature.args[1].dtype, place)
            at = builder.add(builder.mul(at, width), group)
            one = builder.insert_element(
                ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
            )
            spread = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            factor = builder.shuffle_vector(one, one, spread)
            for total in sums:
                address = builder.bitcast(builder.gep(table.data, [at]), lanes.as_pointer())
                product = builder.fmul(factor, builder.load(address, align=4), ("contract",))
                builder.store(builder.fadd(builder.load(total), product, ("contract",)), total)
                at = builder.add(at, run)
        for total in sums:
            address = builder.bitcast(builder.gep(into.data, [group]), lanes.as_pointer())
            builder.store(builder.load(total), address, align=4)
            group = builder.add(group, run)
        return context.get_dummy_value()

    return numba.void(*kinds), generate
