"""Hypothesis strategies: awkward little tables of every supported type, centres, frames, blocks."""

from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from daskcluster.fit.data import array_dataset
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame, frame_of
from daskcluster.kernels.moments import exponent_above
from daskcluster.sizing import INTEGER_BOUNDS, ROW_TYPES, Cut, sum_grid

CHECK = settings(max_examples=40, deadline=None)
FEW = settings(max_examples=16, deadline=None)

# Powers of two, so that scaling keeps ties: about 1e-200 and 1e135 for float64.
SCALES = {"float64": (0, -664, 450), "float32": (0, -60, 60)}


def _integers(dtype):
    bound = INTEGER_BOUNDS[dtype]
    low = 0 if dtype.startswith("u") else -bound
    high = bound - 1 if dtype in ("int8", "int16", "int32") else bound
    few = st.integers(0, 4) | st.integers(low, high) | st.sampled_from([low, high])
    return few | st.integers(10**6, 10**6 + 3) if high > 10**7 else few


def _reals(dtype):
    eighths = st.integers(-32, 32).map(lambda i: i / 8)
    offset = st.integers(0, 16).map(lambda i: 1e6 + i / 16)
    single = dtype == "float32"
    free = st.floats(-(2.0**20), 2.0**20, width=32 if single else 64, allow_subnormal=False)
    near = st.integers(0, 3).map(lambda i: 1.0 + i * (2.0**-23 if single else 2.0**-52))
    return eighths | offset | free | near | st.just(-0.0)


@st.composite
def tables(draw, dtypes=ROW_TYPES, max_rows=24, max_features=4):
    """A table whose elements come from a few values: duplicates, ties and constant columns."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.tuples(st.integers(1, max_rows), st.integers(1, max_features)))
    values = _integers(dtype) if dtype in INTEGER_BOUNDS else _reals(dtype)
    alphabet = np.array(draw(st.lists(values, min_size=1, max_size=6)), dtype=dtype)
    if dtype in SCALES:
        alphabet = np.ldexp(alphabet, draw(st.sampled_from(SCALES[dtype]))).astype(dtype)
    table = alphabet[draw(hnp.arrays(np.int8, shape, elements=st.integers(0, len(alphabet) - 1)))]
    if draw(st.booleans()):
        column = draw(st.integers(0, shape[1] - 1))
        table[:, column] = table[0, column]
    return np.ascontiguousarray(table)


@st.composite
def centers_for(draw, table, max_clusters=5):
    """Centres at rows, between rows, next to them in the last place, and repeated."""
    rows = table.astype(np.float64)
    pick = st.integers(0, len(rows) - 1)
    centers = []
    for kind in draw(st.lists(st.integers(0, 4), min_size=1, max_size=max_clusters)):
        a, b = rows[draw(pick)].copy(), rows[draw(pick)]
        if kind == 1:
            a = a / 2 + b / 2
        elif kind == 2:
            a[0] = np.nextafter(a[0], draw(st.sampled_from([-np.inf, np.inf])))
        elif kind == 3:
            a = a + (a - b)
        elif kind == 4 and centers:
            a = centers[draw(st.integers(0, len(centers) - 1))]
        centers.append(a)
    return np.array(centers)


def grid_for(table):
    """The grid of a table's sums."""
    largest = float(np.abs(table.astype(np.float64)).max())
    return sum_grid(len(table), table.dtype.name, exponent_above(largest))


def frames_for(centers):
    """Frames with and without shift and exponent; none of them may change a label."""
    exponent = int(np.frexp(np.abs(centers).max())[1])
    frames = [Frame(None, 0), Frame(None, exponent), Frame(None, 3), frame_of(centers)]
    if abs(exponent) < 100:
        shift = centers.mean(axis=0).astype(np.float32)
        frames += [Frame(shift, 0), Frame(shift, exponent), Frame(shift * np.float32(1.5), 0)]
    return frames


def batches(table, rows_per_block):
    """The table as the batches of a cut."""
    cut = Cut(len(table), rows_per_block)
    blocks = [cut.block(i) for i in range(len(cut))]
    return [Batch(b.start, table[b.start : b.stop]) for b in blocks]


def session_over(table, rows_per_block=None):
    """A session over an array, in blocks of so many rows."""
    data = array_dataset(table)
    if rows_per_block is not None:
        data = replace(data, cut=Cut(len(table), rows_per_block))
    return data.session()
