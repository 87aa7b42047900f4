"""Products in vector registers, written for LLVM: a BLAS packs both factors, and pads few centres.

Every number is one chain of fused multiply-adds in a fixed order, so that its bits depend neither
on how many rows or centres are computed at once, nor on the machine.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
from llvmlite import ir
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from daskcluster.kernels.llvm import INDEX, array_of, named, spread
from daskcluster.sizing import LANES, SHORT_LANES

_SINGLE, _WHOLE = ir.FloatType(), ir.IntType(64)
_LANES = ir.VectorType(_SINGLE, LANES)
_SHORT = ir.IntType(16)
_INDICES = _WHOLES = ir.VectorType(INDEX, LANES)
_SHORTS = ir.VectorType(_SHORT, SHORT_LANES)
# Of the machine that numba compiles for: NUMBA_CPU_NAME and others may name less than this one.
_FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
_WIDE = "+avx512f" in _FEATURES and "+avx512bw" in _FEATURES
HAS_SHORTS = _WIDE or "+avx2" in _FEATURES
_STORED = (numba.uint8, numba.float32, numba.float64)
# As many sums as the registers hold.
ROWS = 4 if _WIDE else 1
CENTERS = 5
CLUSTERS = 5
RUNS = 4 if _WIDE else 1


def _load(builder, place):
    """`LANES` bytes or reals, as float32."""
    kind = place.type.pointee
    aligned = 4 if kind == _SINGLE else 1
    lanes = ir.VectorType(kind, LANES)
    numbers = builder.load(builder.bitcast(place, lanes.as_pointer()), align=aligned)
    if isinstance(kind, ir.IntType):
        numbers = builder.zext(numbers, _INDICES)
        return builder.sitofp(numbers, _LANES)
    return builder.fptrunc(numbers, _LANES) if isinstance(kind, ir.DoubleType) else numbers


def _store(builder, value, place):
    builder.store(value, builder.bitcast(place, _LANES.as_pointer()), align=4)


def _zeros(lanes):
    return ir.Constant(lanes, [0.0 if lanes == _LANES else 0] * LANES)


def _add_product(builder, first, second, before):
    fused = named(builder, f"llvm.fma.v{LANES}f32", _LANES, [_LANES] * 3)
    return builder.call(fused, [first, second, before])


def _add_short_products(builder, first, second, before):
    """Of neighbours too: two products a lane."""
    if _WIDE:
        multiply = named(builder, "llvm.x86.avx512.pmaddw.d.512", _WHOLES, [_SHORTS] * 2)
        return builder.add(before, builder.call(multiply, [first, second]))
    whole, short = (ir.VectorType(kind, n) for kind, n in ((INDEX, LANES // 2), (_SHORT, LANES)))
    multiply = named(builder, "llvm.x86.avx2.pmadd.wd", whole, [short] * 2)
    halves = []
    for begin in (0, LANES):
        lanes = ir.Constant(_INDICES, list(range(begin, begin + LANES)))
        half = [builder.shuffle_vector(vector, vector, lanes) for vector in (first, second)]
        halves.append(builder.call(multiply, half))
    both = builder.shuffle_vector(*halves, ir.Constant(_INDICES, list(range(LANES))))
    return builder.add(before, both)


def _accumulate(builder, start, stop, n_sums, terms, lanes=_LANES, add=_add_product):
    """``n_sums`` vectors, each a sum of products over ``start <= i < stop``; one at least.

    ``terms(i)`` gives the pairs to multiply, one a sum; ``add`` multiplies them.
    """
    entry, loop = builder.block, builder.append_basic_block()
    done = builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(_WHOLE)
    i.add_incoming(start, entry)
    sums = [builder.phi(lanes) for _ in range(n_sums)]
    after = [add(builder, *pair, before) for pair, before in zip(terms(i), sums, strict=True)]
    following = builder.add(i, ir.Constant(_WHOLE, 1))
    i.add_incoming(following, loop)
    for before, new in zip(sums, after, strict=True):
        before.add_incoming(_zeros(lanes), entry)
        before.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)
    builder.position_at_end(done)
    return after


@intrinsic
def copy_lanes(typing, table, row, start, tile, tile_row):
    """Copy `LANES` bytes or reals of a row of a table, from one on, into a row of float32."""

    def generate(context, builder, signature, arguments):
        _, row, start, _, tile_row = arguments
        table, tile = (array_of(context, builder, signature, arguments, i) for i in (0, 3))
        source, target = (
            builder.gep(
                array.data,
                [builder.add(builder.mul(i, builder.extract_value(array.shape, 1)), start)],
            )
            for array, i in ((table, row), (tile, tile_row))
        )
        _store(builder, _load(builder, source), target)
        return context.get_dummy_value()

    assert table.dtype in _STORED
    return numba.void(table, numba.intp, numba.intp, tile, numba.intp), generate


def _consecutive(builder, array, first, n):
    """Where so many rows of an array begin, from one on."""
    width = builder.extract_value(array.shape, 1)
    each = (builder.add(first, ir.Constant(_WHOLE, i)) for i in range(n))
    return [builder.gep(array.data, [builder.mul(i, width)]) for i in each]


def _multiply(builder, rows, packed, center, start, stop, into):
    """Of ``rows`` and `CENTERS` centres, ``into`` as many rows; all are where they begin."""
    centers = _consecutive(builder, packed, center, CENTERS)

    def terms(v):
        at = builder.mul(v, ir.Constant(_WHOLE, LANES))
        factors = [_load(builder, builder.gep(place, [at])) for place in centers]
        for place in rows:
            features = _load(builder, builder.gep(place, [at]))
            yield from ((features, factor) for factor in factors)

    sums = _accumulate(builder, start, stop, len(rows) * CENTERS, terms)
    found = _lane_sums(builder, sums)
    for row in into:
        for c in range(CENTERS):
            at = builder.add(center, ir.Constant(_WHOLE, c))
            builder.store(next(found), builder.gep(row, [at]))


@intrinsic
def products(typing, tile, row, packed, center, start, stop, out, out_row):
    """Of `ROWS` rows of a tile and `CENTERS` centres, each from one on, into rows of ``out``.

    Of the vectors ``start <= v < stop`` of `LANES` features, by which tile and ``packed`` are wide.
    A lane adds up its own features, and the lanes are added in pairs.
    """

    def generate(context, builder, signature, arguments):
        _, row, _, center, start, stop, _, out_row = arguments
        tile, packed, out = (array_of(context, builder, signature, arguments, i) for i in (0, 2, 6))
        rows, into = (_consecutive(builder, *one, ROWS) for one in ((tile, row), (out, out_row)))
        _multiply(builder, rows, packed, center, start, stop, into)
        return context.get_dummy_value()

    place = numba.intp
    types = (tile, place, packed, place, place, place, out, place)
    return numba.void(*types), generate


def _at_places(builder, table, at, place):
    """Where the rows ``at`` `ROWS` places begin."""
    width, rows = builder.extract_value(table.shape, 1), []
    for r in range(ROWS):
        there = builder.gep(at.data, [builder.add(place, ir.Constant(_WHOLE, r))])
        rows.append(builder.gep(table.data, [builder.mul(builder.load(there), width)]))
    return rows


@intrinsic
def stored_products(typing, table, at, place, packed, center, stop, out):
    """`products` of rows of bytes or reals as they are stored, which are whole vectors wide.

    They are those ``at`` some places of a table, from the one at ``place`` on.
    """

    def generate(context, builder, signature, arguments):
        _, _, place, _, center, stop, _ = arguments
        table, at, packed, out = (
            array_of(context, builder, signature, arguments, i) for i in (0, 1, 3, 6)
        )
        rows = _at_places(builder, table, at, place)
        into = _consecutive(builder, out, place, ROWS)
        _multiply(builder, rows, packed, center, ir.Constant(_WHOLE, 0), stop, into)
        return context.get_dummy_value()

    assert table.dtype in _STORED
    types = (table, at, numba.intp, packed, numba.intp, numba.intp, out)
    return numba.void(*types), generate


@intrinsic
def short_products(typing, table, at, place, packed, scales, center, stop, out):
    """`stored_products` of rows of bytes and centres in 16 bits, on a machine that has them.

    Of other rows nothing.

    ``packed`` has ``stop`` vectors of `SHORT_LANES` features a centre; the last are those that a
    row ends with, zeros where they were in the one before.
    """

    def generate(context, builder, signature, arguments):
        _, _, place, _, _, center, stop, _ = arguments
        if signature.args[0].dtype != numba.uint8 or not HAS_SHORTS:
            return context.get_dummy_value()
        table, at, packed, scales, out = (
            array_of(context, builder, signature, arguments, i) for i in (0, 1, 3, 4, 7)
        )
        rows = _at_places(builder, table, at, place)
        centers = _consecutive(builder, packed, center, CENTERS)
        width = builder.extract_value(table.shape, 1)
        last = builder.sub(width, ir.Constant(_WHOLE, SHORT_LANES))

        def vector(kind, begin, at):
            lanes = ir.VectorType(kind, SHORT_LANES).as_pointer()
            return builder.load(builder.bitcast(builder.gep(begin, [at]), lanes), align=1)

        def terms(v):
            at = builder.mul(v, ir.Constant(_WHOLE, SHORT_LANES))
            factors = [vector(_SHORT, begin, at) for begin in centers]
            here = builder.select(builder.icmp_signed("<", at, last), at, last)
            for row in rows:
                features = builder.zext(vector(ir.IntType(8), row, here), _SHORTS)
                yield from ((features, factor) for factor in factors)

        first = ir.Constant(_WHOLE, 0)
        sums = _accumulate(
            builder, first, stop, ROWS * CENTERS, terms, _WHOLES, _add_short_products
        )
        # A lane's sum is an integer of 32 bits; that of all may not be.
        found = _lane_sums(builder, [builder.sitofp(lanes, _LANES) for lanes in sums])
        for row in _consecutive(builder, out, place, ROWS):
            for c in range(CENTERS):
                at = builder.add(center, ir.Constant(_WHOLE, c))
                scale = builder.load(builder.gep(scales.data, [at]))
                builder.store(builder.fmul(next(found), scale), builder.gep(row, [at]))
        return context.get_dummy_value()

    kinds = table, at, numba.intp, packed, scales, numba.intp, numba.intp, out
    return numba.void(*kinds), generate


def _lane_sums(builder, vectors):
    """The sum of each vector's lanes, in pairs; of `LANES` vectors at once."""
    left = [*vectors, *[_zeros(_LANES)] * (-len(vectors) % LANES)]
    for group in range(0, len(left), LANES):
        some, apart = left[group : group + LANES], 1
        while len(some) > 1:
            pairs = zip(some[::2], some[1::2], strict=True)
            some = [builder.fadd(*_halves(builder, *pair, apart)) for pair in pairs]
            apart *= 2
        for i in range(min(LANES, len(vectors) - group)):
            yield builder.extract_element(some[0], ir.Constant(INDEX, i))


def _halves(builder, first, second, apart):
    """Lanes so far ``apart``: of the first vector where the second has room for its own."""
    own = [i for i in range(LANES) if not i & apart]
    for shift in (0, apart):
        lanes = [0] * LANES
        for i in own:
            lanes[i], lanes[i + apart] = i + shift, LANES + i + shift
        yield builder.shuffle_vector(first, second, ir.Constant(_INDICES, lanes))


def _weighted(n_clusters, n_runs):
    """Weighted sums of rows, of so many clusters and so many times `LANES` features at once."""

    @intrinsic
    def sums(typing, tile, start, stop, column, shares, cluster, out):
        def generate(context, builder, signature, arguments):
            _, start, stop, column, _, cluster, _ = arguments
            tile, shares, out = (
                array_of(context, builder, signature, arguments, i) for i in (0, 4, 6)
            )
            width, n, out_width = (builder.extract_value(a.shape, 1) for a in (tile, shares, out))
            clusters = [builder.add(cluster, ir.Constant(_WHOLE, c)) for c in range(n_clusters)]
            own = [builder.gep(shares.data, [builder.mul(c, n)]) for c in clusters]

            def across(place):
                return [builder.gep(place, [ir.Constant(_WHOLE, LANES * v)]) for v in range(n_runs)]

            def terms(i):
                row = builder.gep(tile.data, [builder.add(builder.mul(i, width), column)])
                features = [_load(builder, place) for place in across(row)]
                for place in own:
                    share = spread(builder, builder.load(builder.gep(place, [i])))
                    yield from ((share, feature) for feature in features)

            found = iter(_accumulate(builder, start, stop, n_clusters * n_runs, terms))
            for c in clusters:
                into = builder.gep(out.data, [builder.add(builder.mul(c, out_width), column)])
                for place in across(into):
                    _store(builder, next(found), place)
            return context.get_dummy_value()

        place = numba.intp
        return numba.void(tile, place, place, place, shares, place, out), generate

    return sums


# For rows ``start <= i < stop`` of a tile, and features and clusters from one on.
weighted_wide = _weighted(CLUSTERS, RUNS)
weighted_narrow = _weighted(CLUSTERS, 1)
weighted_one = _weighted(1, 1)
