"""What the loops ask of LLVM by name, since it does not find these for many numbers by itself."""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import math

import numba
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic

from daskcluster.kernels.llvm import array_of, named, spread
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
        array = array_of(context, builder, signature, arguments, 0)
        lanes = ir.VectorType(ir.FloatType(), LANES)
        at = builder.mul(arguments[1], builder.extract_value(array.shape, 1))
        at = builder.add(at, arguments[2])
        place = builder.bitcast(builder.gep(array.data, [at]), lanes.as_pointer())
        numbers = builder.load(place, align=4)
        bits = builder.fcmp_unordered("<=", numbers, ir.Constant(lanes, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), ir.IntType(64))

    return numba.uint64(table, numba.intp, numba.intp), generate


@intrinsic
def widen_row(typing, pairs, row, gain, apart, label, reach, unknown):
    """Add ``gain[label] - reach * apart[label]`` to a row of gaps; returns the least of them.

    Rounded downwards, and never infinite: what is taken from infinity is no number. All are
    finite float32, and rows whole vectors wide.
    """
    single = ir.FloatType()
    lanes = ir.VectorType(single, LANES)
    infinite, unit = (ir.Constant(lanes, [number] * LANES) for number in (math.inf, 2.0**-22))

    def generate(context, builder, signature, arguments):
        table, lines, slopes = (
            array_of(context, builder, signature, arguments, i) for i in (0, 2, 3)
        )
        _, row, _, _, label, reach, unknown = arguments
        width = builder.extract_value(table.shape, 1)
        begin, own = builder.mul(row, width), builder.mul(label, width)
        reach, most = spread(builder, builder.fneg(reach)), spread(builder, unknown)
        least = cgutils.alloca_once_value(builder, infinite)

        def place(array, first, j):
            at = builder.gep(array.data, [builder.add(first, j)])
            return builder.bitcast(at, lanes.as_pointer())

        zero, step = (context.get_constant(numba.intp, m) for m in (0, LANES))
        with cgutils.for_range_slice(builder, zero, width, step) as (j, _):
            before = builder.load(place(table, begin, j), align=4)
            line = builder.load(place(lines, own, j), align=4)
            slope = builder.load(place(slopes, own, j), align=4)
            loss = builder.call(
                named(builder, f"llvm.fma.v{LANES}f32", lanes, [lanes] * 3), [reach, slope, line]
            )
            absolute = named(builder, f"llvm.fabs.v{LANES}f32", lanes, [lanes])
            size = builder.fadd(*(builder.call(absolute, [v]) for v in (before, loss)))
            after = builder.fadd(before, builder.fsub(loss, builder.fmul(unit, size)))
            after = builder.select(builder.fcmp_ordered(">", after, most), most, after)
            builder.store(after, place(table, begin, j), align=4)
            before = builder.load(least)
            lower = builder.fcmp_ordered("<", after, before)
            builder.store(builder.select(lower, after, before), least)
        return _least_lane(builder, builder.load(least))

    kinds = pairs, numba.intp, gain, apart, numba.intp, numba.float32, numba.float32
    return numba.float32(*kinds), generate


@intrinsic
def least_above_zero(typing, table, row):
    """The least of the float32 of a row that are above 0; rows are whole vectors wide."""
    lanes = ir.VectorType(ir.FloatType(), LANES)
    infinite, zeros = (ir.Constant(lanes, [number] * LANES) for number in (math.inf, 0.0))

    def generate(context, builder, signature, arguments):
        array = array_of(context, builder, signature, arguments, 0)
        width = builder.extract_value(array.shape, 1)
        begin = builder.mul(arguments[1], width)
        least = cgutils.alloca_once_value(builder, infinite)
        zero, step = (context.get_constant(numba.intp, m) for m in (0, LANES))
        with cgutils.for_range_slice(builder, zero, width, step) as (j, _):
            place = builder.gep(array.data, [builder.add(begin, j)])
            numbers = builder.load(builder.bitcast(place, lanes.as_pointer()), align=4)
            before = builder.load(least)
            lower = builder.and_(
                builder.fcmp_ordered(">", numbers, zeros),
                builder.fcmp_ordered("<", numbers, before),
            )
            builder.store(builder.select(lower, numbers, before), least)
        return _least_lane(builder, builder.load(least))

    return numba.float32(table, numba.intp), generate


@intrinsic
def two_lowest(typing, table, row, column, squares, first, n):
    """Of the scores ``squares[first + j] - 2 table[row, column + j]``, where j < n, the two lowest.

    Returns the place j of the lowest, it, and the next; what is NaN counts as infinite. `LANES`
    numbers beyond the last are read, and do not matter.
    """
    single, whole = ir.FloatType(), ir.IntType(64)
    lanes, places = ir.VectorType(single, LANES), ir.VectorType(ir.IntType(32), LANES)
    infinite = ir.Constant(lanes, [math.inf] * LANES)
    numbered = ir.Constant(places, list(range(LANES)))

    def generate(context, builder, signature, arguments):
        products, norms = (array_of(context, builder, signature, arguments, i) for i in (0, 3))
        _, row, column, _, first, n = arguments
        begin = builder.add(builder.mul(row, builder.extract_value(products.shape, 1)), column)
        best, after = (cgutils.alloca_once_value(builder, infinite) for _ in range(2))
        place = cgutils.alloca_once_value(builder, ir.Constant(places, [0] * LANES))

        def load(array, at):
            address = builder.bitcast(builder.gep(array.data, [at]), lanes.as_pointer())
            return builder.load(address, align=4)

        zero, step = (context.get_constant(numba.intp, m) for m in (0, LANES))
        with cgutils.for_range_slice(builder, zero, n, step) as (j, _):
            product = load(products, builder.add(begin, j))
            score = builder.fsub(load(norms, builder.add(first, j)), builder.fadd(product, product))
            own = builder.add(spread(builder, builder.trunc(j, ir.IntType(32))), numbered)
            there = builder.icmp_signed("<", own, spread(builder, builder.trunc(n, ir.IntType(32))))
            score = builder.select(there, score, infinite)
            lowest, next_lowest = builder.load(best), builder.load(after)
            lower = builder.fcmp_ordered("<", score, lowest)
            between = builder.select(
                builder.fcmp_ordered("<", score, next_lowest), score, next_lowest
            )
            builder.store(builder.select(lower, lowest, between), after)
            builder.store(builder.select(lower, score, lowest), best)
            builder.store(builder.select(lower, own, builder.load(place)), place)
        lowest = builder.load(best)
        least = _least_lane(builder, lowest)
        same = builder.fcmp_ordered("==", lowest, spread(builder, least))
        lane = _first_bit(builder, builder.zext(builder.bitcast(same, ir.IntType(LANES)), whole))
        lane = builder.trunc(lane, ir.IntType(32))
        mine = builder.icmp_signed("==", numbered, spread(builder, lane))
        second = _least_lane(builder, builder.select(mine, builder.load(after), lowest))
        found = builder.sext(builder.extract_element(builder.load(place), lane), whole)
        return context.make_tuple(builder, signature.return_type, [found, least, second])

    kinds = table, numba.intp, numba.intp, squares, numba.intp, numba.intp
    return types.Tuple((numba.intp, numba.float32, numba.float32))(*kinds), generate


def _least_lane(builder, vector):
    """The least of its lanes, none of them NaN."""
    name = f"llvm.vector.reduce.fmin.v{LANES}f32"
    least = named(builder, name, ir.FloatType(), [vector.type])
    return builder.call(least, [vector], fastmath=("nnan",))


def _first_bit(builder, number):
    whole = ir.IntType(64)
    kind = ir.FunctionType(whole, [whole, ir.IntType(1)])
    count = builder.module.declare_intrinsic("llvm.cttz", [whole], kind)
    return builder.call(count, [number, ir.Constant(ir.IntType(1), 1)])


@intrinsic
def first_bit(typing, bits):
    """The place of the lowest bit that is set in a number that is not 0."""

    def generate(context, builder, signature, arguments):
        return _first_bit(builder, arguments[0])

    return numba.int64(numba.uint64), generate


@intrinsic
def fetch(typing, row, place):
    """Have the cache line of an element of a row brought near; nobody waits for it."""

    def generate(context, builder, signature, arguments):
        array = array_of(context, builder, signature, arguments, 0)
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
            array_of(context, builder, signature, arguments, i) for i in (0, 1, 2, 6)
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
            factor = spread(builder, value)
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
