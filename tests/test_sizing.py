"""Arithmetic of sizes: cuts cover every row once, grids cannot overflow, bounds refuse."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK

from daskcluster.errors import BudgetError, InputError
from daskcluster.sizing import (
    BLOCKS_KEPT_APART,
    CHUNK_BYTES,
    INTEGER_BOUNDS,
    MIB,
    ROW_TYPES,
    SMALLEST_CUT,
    TASKS_PER_THREAD,
    Cut,
    check_row_type,
    chunk_rows,
    cut_blocks,
    fit_bytes,
    grain_rows,
    integer_grid,
    memory_budget,
    n_tasks,
    partitions,
    real_grid,
    square_grid,
    sum_grid,
    tile_rows,
    within,
)


@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 8, 9, 784, 1000, 20000, 10**7])
def test_a_grain_is_the_nearest_power_of_two(n_features):
    grain, target = grain_rows(n_features), 4 * MIB / (8 * n_features)
    assert grain.bit_count() == 1
    assert 32 <= grain <= 65536
    if 32 < grain < 65536:
        # Nearest by ratio, as powers of two are spaced.
        assert 0.5**0.5 <= grain / target <= 2**0.5 * (1 + 1 / int(target))


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**6),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 10**7),
)
@CHECK
def test_chunks_are_whole_grains(n_rows, n_features, itemsize, rows):
    grain = grain_rows(n_features)
    chunk = chunk_rows(n_rows, n_features, itemsize)
    assert chunk % grain == 0
    # No more than 8 MiB, nor than a sixteenth of the rows, if a grain is not already more.
    assert chunk == grain or chunk * n_features * itemsize <= CHUNK_BYTES
    assert chunk == grain or (chunk - grain) * SMALLEST_CUT < n_rows
    asked = chunk_rows(n_rows, n_features, itemsize, rows)
    assert asked % grain == 0
    # What is longer than the data would be written as long as it is.
    assert min(rows, n_rows) <= asked < min(rows, n_rows) + grain


def test_no_rows_per_chunk_is_refused():
    with pytest.raises(InputError, match="rows_per_chunk=0 should be >= 1"):
        chunk_rows(9, 3, 1, 0)


@pytest.mark.parametrize("dtype", ["bool", "uint64", "float16", "complex128", "object"])
def test_other_row_types_are_refused_by_name(dtype):
    with pytest.raises(InputError, match=f"here: rows of type {dtype} are not supported"):
        check_row_type(dtype, "here")


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 300), st.integers(1, 40))
@CHECK
def test_partitions_cover_every_row_once(n_rows, rows_per_chunk, row_bytes, n_threads):
    cut = cut_blocks(n_rows, rows_per_chunk, row_bytes)
    parts = partitions(cut, n_threads)
    blocks = [block for part in parts for block in part]
    assert [i for b in blocks for i in range(b.start, b.stop)] == list(range(n_rows))
    assert [b.index for b in blocks] == list(range(len(cut)))
    assert all(b.start % rows_per_chunk == 0 for b in blocks)
    assert len(parts) == n_tasks(len(cut), n_threads) <= TASKS_PER_THREAD * n_threads
    sizes = [part.high - part.low for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sum(part.n_rows for part in parts) == n_rows


def test_very_many_small_chunks_are_read_together():
    cut = cut_blocks(10**8, 32, 4)
    assert cut.rows_per_block % 32 == 0
    assert cut.rows_per_block * 4 <= 4 * MIB
    assert len(cut) >= BLOCKS_KEPT_APART
    assert cut_blocks(32 * BLOCKS_KEPT_APART, 32, 4).rows_per_block == 32


@pytest.mark.parametrize(("n_rows", "blocks"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2)])
def test_cuts_at_the_edge_of_a_block(n_rows, blocks):
    cut = Cut(n_rows, 100)
    assert len(cut) == blocks
    assert cut.block(blocks - 1).stop == n_rows


@given(st.integers(1, 60), st.integers(1, 10), st.data())
@CHECK
def test_within_gives_runs_of_the_blocks_named(n_blocks, n_threads, data):
    parts = partitions(Cut(n_blocks * 5, 5), n_threads)
    wanted = sorted(data.draw(st.sets(st.integers(0, n_blocks - 1))))
    found = within(parts, wanted)
    assert len(found) == len(parts)
    assert [block.index for runs in found for run in runs for block in run] == wanted
    for part, runs in zip(parts, found, strict=True):
        assert all(part.low <= run.low < run.high <= part.high for run in runs)
        # Runs that touch are one run: a task goes through as many blocks as it can.
        assert all(a.high < b.low for a, b in pairwise(runs))


@given(st.integers(1, 2**50), st.integers(1, 2**106))
@CHECK
def test_integer_grids_hold_their_largest_sum(n_rows, bound):
    grid = integer_grid(n_rows, bound)
    assert grid.exponent == 0
    largest = n_rows * bound
    assert largest >> (48 * (grid.n_limbs - 1)) < 2**62
    # A single limb wherever one is enough, two where one int32 square already needs them.
    assert (grid.n_limbs == 1) == (largest < 2**62)


def test_one_row_of_int32_squares_needs_two_limbs():
    assert square_grid(1, "int32", 0).n_limbs == 2
    assert square_grid(1, "uint32", 0).n_limbs == 2
    assert square_grid(1, "int64", 0).n_limbs == 3
    assert square_grid(2**46, "uint8", 0).n_limbs == 1
    assert sum_grid(2**8, "int64", 0).n_limbs == 1
    assert sum_grid(2**9, "int64", 0).n_limbs == 2


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("n_rows", [1, 2, 3, 1000, 2**31, 2**45])
@pytest.mark.parametrize("exponent", [-660, 0, 1, 20, 465])
def test_grids_at_their_limits(dtype, n_rows, exponent):
    for grid, power, bits in ((sum_grid, 1, 96), (square_grid, 2, 144)):
        g = grid(n_rows, dtype, exponent)
        if dtype in INTEGER_BOUNDS:
            assert g.exponent == 0
            continue
        # The sum stays below so many bits of units, and no more than one of them is spare.
        assert n_rows << (power * exponent - g.exponent) < 2**bits
        assert n_rows << (power * exponent - g.exponent + 1) >= 2**bits
        assert g.n_limbs == bits // 48
        assert g == real_grid(n_rows, power * exponent, bits)


@given(st.integers(1, 10**6), st.integers(1, 10**5))
@CHECK
def test_tiles_are_powers_of_two(n_features, n_clusters):
    rows = tile_rows(n_features, n_clusters)
    assert rows.bit_count() == 1
    assert 64 <= rows <= 16384


GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("asked", "limit", "data", "budget"),
    [
        (None, 10 * GIB, 100 * GIB, 3 * GIB),
        (None, 10 * GIB, GIB, GIB),
        (None, 2 * GIB, 100 * GIB, int(0.7 * 2 * GIB) - GIB),
        (0, 2 * GIB, 100 * GIB, 0),
        (GIB, 10 * GIB, 100 * GIB, GIB),
        (10**15, 10 * GIB, GIB, GIB),
    ],
)
def test_the_budget_is_what_is_asked_for_or_left(asked, limit, data, budget):
    assert memory_budget(asked, GIB - 5, 5, limit, data, 4) == budget


def test_what_does_not_fit_is_refused_with_the_way_out():
    needed = fit_bytes(1000, 8 * MIB, 4, 784, 10, 1)
    limit = int((needed + 6) / 0.7)
    assert memory_budget(0, needed, 5, limit, GIB, 4) == 0
    with pytest.raises(BudgetError, match=r"4 threads needs .* use fewer threads per worker"):
        memory_budget(0, needed, 7, limit, GIB, 4)
    with pytest.raises(BudgetError, match=r"budget of 900 MiB does not fit .* lower it to 0 MiB"):
        memory_budget(900 * MIB, needed, 5, limit, GIB, 4)


def test_the_bound_grows_with_rows_blocks_threads_and_limbs():
    base = (1000, MIB, 2, 100, 10, 1)
    for i in (0, 1, 2, 5):
        more = tuple(v * 2 if j == i else v for j, v in enumerate(base))
        assert fit_bytes(*more) > fit_bytes(*base)
