"""Exact arithmetic on float64 and int64 arrays.

Sums live on a fixed-point grid (`daskcluster.sizing.Grid`) as int64 *limbs*: an array of shape
(n_limbs, ...) whose value is ``sum(limb[l] * 2**(48 l)) * 2**grid.exponent``. Integers add in any
order to the same bits, so neither chunks nor workers can change a result.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from daskcluster.errors import InputError
from daskcluster.sizing import LIMB_BITS, Grid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pieces = list[tuple[int, Floats]]

_DENSE_ENTRIES = 1 << 12
_SPLITTER = 2.0**27 + 1.0


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return ``(p, e)`` with ``p + e == a * b`` exactly, for magnitudes below 2**500.

    Dekker, "A floating-point technique for extending the available precision", Numerische
    Mathematik 18, 1971.
    """
    p = a * b
    a_high = _SPLITTER * a - (_SPLITTER * a - a)
    b_high = _SPLITTER * b - (_SPLITTER * b - b)
    a_low, b_low = a - a_high, b - b_high
    e = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
    return p, e


def shifted(values: Floats, exponent: int) -> Floats:
    """``values * 2**exponent``; a product is as exact as `ldexp`, and far faster."""
    return values * 2.0**exponent if abs(exponent) < 1000 else np.ldexp(values, exponent)


def to_grid(values: Floats, grid: Grid) -> Ints:
    """Round each value once to the grid; returns limbs of shape (n_limbs, *values.shape)."""
    rest = shifted(values, -grid.exponent)
    limbs = np.empty((grid.n_limbs, *values.shape), dtype=np.int64)
    for i in range(grid.n_limbs - 1, 0, -1):
        limb = np.rint(shifted(rest, -LIMB_BITS * i))
        limbs[i] = limb
        rest = rest - shifted(limb, LIMB_BITS * i)
    limbs[0] = np.rint(rest)
    return limbs


def times(limbs: Ints, factors: Ints) -> Ints:
    """Values of shape (n_limbs, ...) times whole numbers below 2**38, exactly; carried.

    The grid has room for the products.
    """
    if len(limbs) == 1:
        return limbs * factors
    out = np.zeros(np.broadcast_shapes(limbs.shape, (1, *factors.shape)), dtype=np.int64)
    for i in range(len(limbs) - 1):
        # Halves of 24 bits: their products stay below 2**62.
        high = limbs[i] >> 24
        above = high * factors
        out[i] += (limbs[i] - (high << 24)) * factors
        out[i] += (above & (2**24 - 1)) << 24
        out[i + 1] += above >> 24
    out[-1] += limbs[-1] * factors
    return carry(out)


def carry(limbs: Ints) -> Ints:
    """Bring all limbs but the top one into [0, 2**48), in place: one value, one representation."""
    for i in range(len(limbs) - 1):
        over = limbs[i] >> LIMB_BITS
        limbs[i] -= over << LIMB_BITS
        limbs[i + 1] += over
    return limbs


def to_ints(limbs: Ints) -> list[int]:
    """The values in grid units as Python integers, flattened."""
    rows = limbs.reshape(len(limbs), -1).tolist()
    return [
        sum(v << (LIMB_BITS * i) for i, v in enumerate(column))
        for column in zip(*rows, strict=True)
    ]


def total(limbs: Ints) -> int:
    """The sum of all values in grid units, as a Python integer."""
    found = 0
    for i, limb in enumerate(limbs):
        high = limb >> 24
        # Halves of limbs below 2**40 add up to 2**63 for as many as memory holds.
        found += ((int(high.sum()) << 24) + int((limb - (high << 24)).sum())) << (LIMB_BITS * i)
    return found


def cluster_sums(
    rows: npt.NDArray[Any],
    labels: npt.NDArray[np.integer[Any]],
    signs: Ints,
    n_clusters: int,
    grid: Grid,
    weights: Ints | None = None,
) -> Ints:
    """Exact sums ``S[j]`` of ``signs[i, e] * rows[i]`` wherever ``labels[i, e] == j``.

    Limbs of shape (n_limbs, k, d). Labels and signs have one entry a row, shape (n,), or two for
    rows that move, shape (n, 2). At most 2**14 entries, so that no 48-bit limb can overflow.
    ``weights``, shape (n,), say how often each row counts.
    """
    # 2**14 bytes stay below 2**24 and 2**14 32-bit integers below 2**53: every partial sum is an
    # integer that the float type holds, so the sum is exact in any order.
    parts: npt.NDArray[Any]
    if weights is not None:
        parts = times(to_grid(rows.astype(np.float64), grid), weights[:, np.newaxis])
    elif rows.dtype.itemsize == 1:
        parts = rows.astype(np.float32)[np.newaxis]
    elif rows.dtype.kind in "iu" and grid.n_limbs == 1 and rows.dtype.itemsize <= 4:
        parts = rows.astype(np.float64)[np.newaxis]
    else:
        parts = to_grid(rows.astype(np.float64), grid)
    pick = _selector(labels.reshape(len(rows), -1), signs.astype(parts.dtype), n_clusters)
    return carry(np.array([pick @ part for part in parts], dtype=np.int64))


def _selector(
    labels: npt.NDArray[np.integer[Any]], signs: npt.NDArray[Any], n_clusters: int
) -> Any:
    """The matrix (n_clusters, n) whose product with the rows is their signed sums."""
    n, width = labels.shape
    if n_clusters * n > _DENSE_ENTRIES:
        entries = (signs.ravel(), labels.ravel(), np.arange(0, labels.size + 1, width))
        return sparse.csc_array(entries, shape=(n_clusters, n))
    # SciPy's constructor costs more than the product of a few rows.
    dense = np.zeros((n_clusters, n), dtype=signs.dtype)
    for entry, sign in zip(labels.T, signs.reshape(n, width).T, strict=True):
        dense[entry, np.arange(n)] += sign
    return dense


def column_sums(values: Floats, grid: Grid, weights: Ints | None = None) -> Ints:
    """Exact sums over rows of values rounded once to the grid, limbs (n_limbs, d)."""
    limbs = to_grid(values, grid)
    limbs = limbs if weights is None else times(limbs, weights[:, np.newaxis])
    return carry(limbs.sum(axis=1))


def label_counts(
    labels: npt.NDArray[np.integer[Any]], n_clusters: int, weights: Ints | None = None
) -> Ints:
    """How often each label occurs, or what its rows weigh; shape (n_clusters,)."""
    if weights is None:
        return np.bincount(labels, minlength=n_clusters).astype(np.int64, copy=False)
    counts = np.zeros(n_clusters, dtype=np.int64)
    np.add.at(counts, labels, weights)
    return counts


def mean(limbs: Ints, counts: Ints, grid: Grid) -> Floats:
    """``S / n`` rounded to the nearest float64, for limbs (n_limbs, k, d) and counts (k,) > 0."""
    return quotients(limbs, counts[:, np.newaxis], grid)


def quotients(limbs: Ints, counts: Ints, grid: Grid) -> Floats:
    """Values over counts, rounded to the nearest float64; counts above 0 broadcast to the values.

    The quotient is corrected by its exact remainder; integers of up to 2**53 divide directly.
    Two float64 hold two limbs and not three, and a quotient below the normal range would be
    rounded twice: those are divided as Python integers.
    """
    shape = limbs.shape[1:]
    if len(limbs) > 2 or grid.exponent < -960:
        each = np.broadcast_to(counts, shape).ravel().tolist()
        pairs = zip(to_ints(limbs), each, strict=True)
        found = [float(scaled(total, grid.exponent) / count) for total, count in pairs]
        return np.array(found, dtype=np.float64).reshape(shape)
    if are_floats(limbs):
        return shifted(limbs[0].astype(np.float64) / counts, grid.exponent)
    high, low = two_floats(limbs)
    n = counts.astype(np.float64)
    quotient = high / n
    product, error = two_product(quotient, np.broadcast_to(n, shape))
    remainder = ((high - product) - error) + low
    return shifted(quotient + remainder / n, grid.exponent)


def are_floats(limbs: Ints) -> bool:
    """Whether values are float64 as they are."""
    if len(limbs) > 1:
        return False
    return bool(limbs.min(initial=0) >= -(2**53) and limbs.max(initial=0) <= 2**53)


def rounded(limbs: Ints, grid: Grid) -> Floats:
    """The values as float64, within a unit in the last place."""
    high, low = two_floats(limbs)
    return shifted(high + low, grid.exponent)


def two_floats(limbs: Ints) -> tuple[Floats, Floats]:
    """The value in grid units as an unevaluated sum of two float64, ``|low| <= ulp(high) / 2``."""
    high = np.zeros(limbs.shape[1:])
    low = np.zeros(limbs.shape[1:])
    for i in range(len(limbs) - 1, -1, -1):
        top = limbs[i] >> 31
        for part, shift in ((top, 31), (limbs[i] - (top << 31), 0)):
            high, error = two_sum(high, shifted(part.astype(np.float64), shift + LIMB_BITS * i))
            low = low + error
    return two_sum(high, low)


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return ``(s, e)`` with ``s + e == a + b`` exactly.

    Knuth, *The Art of Computer Programming*, volume 2, section 4.2.2.
    """
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def float_pieces(values: Floats, bits: int) -> Pieces:
    """Write ``values`` exactly as ``sum(piece * 2**shift)`` of integers below ``2**bits``."""
    if not np.isfinite(values).all():  # of which no piece would leave less
        raise InputError(
            "a row holds NaN or infinity, which no conversion lets pass: convert the source again"
        )
    rest, pieces = values, []
    while rest.any():
        shift = int(np.frexp(np.abs(rest).max())[1]) - (bits - 1)
        shift = max(shift, -1074)
        piece = np.rint(shifted(rest, -shift))
        pieces.append((shift, piece))
        rest = rest - shifted(piece, shift)
    return pieces


def limb_pieces(limbs: Ints, bits: int) -> Pieces:
    """The same for limbs, in grid units."""
    pieces = []
    for i, limb in enumerate(limbs):
        rest, shift = limb, LIMB_BITS * i
        while rest.any():
            piece = rest & ((1 << bits) - 1)
            # The sign travels to the top: -1 >> 1 is -1, and would never run out of bits.
            final = bool(np.all(np.abs(rest) < (1 << (bits - 1))))
            pieces.append((shift, (rest if final else piece).astype(np.float64)))
            rest = np.zeros_like(rest) if final else rest >> bits
            shift += bits
    return pieces


def row_dots(a: Pieces, b: Pieces, n_rows: int) -> tuple[list[int], int]:
    """Exact ``sum_j A[i, j] * B[i, j]`` per row as ``(integers, exponent)``."""
    sums: dict[int, Ints] = {}
    for i, (shift_a, piece_a) in enumerate(a):
        # Of a square the mixed products come twice.
        for shift_b, piece_b in b[i:] if a is b else b:
            dots = np.einsum("ij,ij->i", piece_a, piece_b).astype(np.int64)
            dots <<= int(a is b and piece_a is not piece_b)
            shift = shift_a + shift_b
            sums[shift] = sums[shift] + dots if shift in sums else dots
    lowest = min(sums, default=0)
    totals = [0] * n_rows
    for shift, dots in sums.items():
        totals = [
            t + (int(v) << (shift - lowest)) for t, v in zip(totals, dots.tolist(), strict=True)
        ]
    return totals, lowest


def scaled(total: int, exponent: int) -> Fraction:
    """``total * 2**exponent`` as a fraction."""
    return Fraction(total) * Fraction(2) ** exponent


def inertia(squares: Fraction, sums: Ints, counts: Ints, centers: Floats, grid: Grid) -> float:
    """``sum ||x||^2 - 2 sum C_k . S_k + sum n_k ||C_k||^2`` in exact arithmetic, rounded once.

    Parameters
    ----------
    squares : Fraction
        The sum of squared elements of all rows.
    sums : int64 ndarray of shape (n_limbs, n_clusters, n_features)
    counts : int64 ndarray of shape (n_clusters,)
    centers : float64 ndarray of shape (n_clusters, n_features)
    """
    total = squares + own_terms(sums, counts, centers, grid)
    try:
        # Real elements were rounded to the grid: a perfect fit may miss zero by one unit of it.
        return max(float(total), 0.0)
    except OverflowError as error:
        raise InputError(
            "rows hold magnitudes that no conversion lets pass: convert the source again"
        ) from error


def own_terms(sums: Ints, counts: Ints, centers: Floats, grid: Grid) -> Fraction:
    """``sum n_k ||C_k||^2 - 2 sum C_k . S_k`` of some clusters, exact."""
    n_clusters, n_features = centers.shape
    bits = (53 - n_features.bit_length()) // 2
    own = float_pieces(centers, bits)
    norms, norm_exponent = row_dots(own, own, n_clusters)
    dots, dot_exponent = row_dots(own, limb_pieces(sums, bits), n_clusters)
    weighted = sum(n * norm for n, norm in zip(counts.tolist(), norms, strict=True))
    return scaled(weighted, norm_exponent) - 2 * scaled(sum(dots), dot_exponent + grid.exponent)


def _integers(values: Floats, exponent: int) -> npt.NDArray[np.object_]:
    mantissa, power = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    flat = zip(whole.ravel().tolist(), power.ravel().tolist(), strict=True)
    ints = [m << (p - 53 - exponent) if m else 0 for m, p in flat]
    out = np.empty(len(ints), dtype=object)
    out[:] = ints
    return out.reshape(values.shape)


def _lowest_exponent(arrays: Iterable[Floats]) -> int:
    powers = [np.frexp(a[a != 0])[1] for a in arrays]
    return min((int(p.min()) - 53 for p in powers if p.size), default=0)


def nearest(row: Floats, centers: Floats) -> int:
    """Index of the lowest centre nearest to ``row`` (d,) in exact arithmetic; centers (k, d)."""
    # A column in which all centres are 0 says nothing of them: of sparse rows most are.
    some = centers.any(axis=0)
    row, centers = row[some], centers[:, some]
    exponent = _lowest_exponent((row, centers))
    x, c = _integers(row, exponent), _integers(centers, exponent)
    scores = (c * (c - 2 * x)).sum(axis=1).tolist()
    return int(scores.index(min(scores)))


def dots(row: Floats, others: Floats) -> list[Fraction]:
    """Exact products of a row (d,) and others (n, d), for few features."""
    exponent = _lowest_exponent((row, others))
    found = (_integers(others, exponent) * _integers(row, exponent)).sum(axis=1)
    return [scaled(int(value), 2 * exponent) for value in found.tolist()]


def squared_norms(vectors: Floats) -> list[Fraction]:
    """Exact squared norms of vectors (n, d)."""
    pieces = float_pieces(vectors, (53 - vectors.shape[1].bit_length()) // 2)
    norms, exponent = row_dots(pieces, pieces, len(vectors))
    return [scaled(norm, exponent) for norm in norms]


def squared_distance(row: Floats, center: Floats) -> Fraction:
    """``||row - center||^2`` as an exact fraction."""
    some = (row != 0) | (center != 0)
    row, center = row[some], center[some]
    exponent = _lowest_exponent((row, center))
    difference = _integers(row, exponent) - _integers(center, exponent)
    return scaled(int((difference * difference).sum()), 2 * exponent)


def from_ints(values: list[int], n_limbs: int) -> Ints:
    """The inverse of `to_ints`: limbs of shape (n_limbs, len(values))."""
    limbs = np.empty((n_limbs, len(values)), dtype=np.int64)
    for i in range(n_limbs):
        top = i == n_limbs - 1
        limbs[i] = [
            v >> (LIMB_BITS * i) if top else (v >> (LIMB_BITS * i)) % (1 << LIMB_BITS)
            for v in values
        ]
    return limbs
