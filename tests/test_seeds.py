"""k-means++: the same draws for any blocks and threads, from exact whole distances."""

import functools
from fractions import Fraction

import dask.config
import numpy as np
import pytest
import reference
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import CHECK, FEW, batches, session_over, tables
from test_moments import moments_of

from daskcluster.engine import alone
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.near import Near, squared_norms
from daskcluster.kernels.seeds import (
    Invert,
    Potentials,
    SeedState,
    TakeRows,
    distances,
    exact_total,
    unit_exponent,
)
from daskcluster.seeding import Population, kmeans_plusplus, random_rows, take_rows
from daskcluster.survey import scale_of


def whole_units(rows, points, unit):
    """The oracle of distances: in whole units, a third of one added before rounding down."""
    rows, points, scale = (
        reference.fractions(rows),
        reference.fractions(points),
        Fraction(2) ** unit,
    )
    third = Fraction(1, 3)
    return [[int((reference.distance(r, p) / scale + third) // 1) for p in points] for r in rows]


def job_for(table, seeds, kind=Potentials, **more):
    scale = scale_of(moments_of(table))
    dtype = table.dtype.name
    unit = unit_exponent(scale.total_variance, dtype)
    return kind(seeds, scale.frame, unit, dtype, **more)


def seeds_of(table, k, seed=0, rows_per_block=None):
    scale = scale_of(moments_of(table))
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    with session_over(table, rows_per_block) as session:
        population = Population(session.cut)
        return alone(session, kmeans_plusplus(population, scale, table.dtype.name, k, rng))


def rows_chosen(table, seeds):
    """The first row that each seed equals."""
    found = (table.astype(np.float64)[None] == seeds[:, None]).all(axis=2)
    assert found.any(axis=1).all(), "a seed that is no row"
    return found.argmax(axis=1).tolist()


@given(tables(max_rows=14), st.data())
@CHECK
def test_distances_are_whole_units(table, data):
    points = table[data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=3))]
    points = points.astype(np.float64)
    job = job_for(table, points)
    assert distances(table, points, job).tolist() == whole_units(table, points, job.unit)
    shifts = [None]
    if np.abs(points).max() < 2.0**100:
        shifts.append(table[0].astype(np.float32))
    for shift in shifts:
        for exponent in (0, job.frame.exponent):
            other = Potentials(points, Frame(shift, exponent), job.unit, job.dtype)
            assert (distances(table, points, other) == distances(table, points, job)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint16", "uint8"])
@pytest.mark.parametrize("offset", [0, 200, 10**6])
def test_distances_on_and_beside_a_whole_unit(dtype, offset):
    if dtype in ("uint8", "uint16") and offset > 200:
        offset = 100
    step = 1 if dtype[0] in "iu" else 0.0625
    table = (offset + np.arange(30).reshape(-1, 1) % 8 * step).astype(dtype)
    points = table[:2].astype(np.float64)
    for unit in (0, 1, 2, 5) if step == 1 else (-9, -8, -7, 0):
        job = Potentials(points, Frame(None, 0), unit, dtype)
        assert distances(table, points, job).tolist() == whole_units(table, points, unit)


def test_distances_over_several_runs_of_rows():
    table = np.random.default_rng(0).integers(0, 256, (300, 5000)).astype(np.uint8)
    points = table[:3].astype(np.float64)
    job = Potentials(points, Frame(None, 0), 3, "uint8")
    whole = ((table[:, None].astype(np.int64) - table[None, :3]) ** 2).sum(axis=2)
    assert (distances(table, points, job) == (3 * whole + 8) // 24).all()


@given(tables(), st.data())
@CHECK
def test_rows_left_out_are_no_nearer(table, data):
    points = table[data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=3))]
    points = points.astype(np.float64)
    job = job_for(table, points)
    whole = np.array(whole_units(table, points, job.unit), dtype=object)
    near = data.draw(st.sampled_from([-1, 0, 1, 2**40]))
    limit = np.array([min(max(int(w) + near, 0), 2**63 - 1) for w in whole.min(axis=1)])
    shift = table[0].astype(np.float32) if np.abs(points).max() < 2.0**100 else None
    for frame in (job.frame, Frame(shift, job.frame.exponent)):
        found = Near(points, frame, job.unit).rows(table, limit, squared_norms(table, frame))
        left_out = np.setdiff1d(np.arange(len(table)), found)
        assert (whole[left_out] >= limit[left_out, np.newaxis]).all()


def test_rows_of_no_known_distance_are_never_left_out():
    """However far the first seed is: beyond `FARTHEST` all count alike, but they do."""
    table = np.array([[0.0], [1e9], [2.0]])
    below = np.full(3, np.iinfo(np.int64).max)
    near = Near(np.array([[1e9]]), Frame(None, 0), -24)
    norms = squared_norms(table, Frame(None, 0))
    assert near.rows(table, below, norms).tolist() == [0, 1, 2]


def test_few_rows_are_near_a_late_seed():
    """What is left out is most rows: else nothing would be saved."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2000, 30)).astype(np.float32)
    job = job_for(table, table[:400].astype(np.float64))
    whole = distances(table, job.seeds, job).min(axis=1)
    near = Near(table[400:404].astype(np.float64), job.frame, job.unit)
    found = near.rows(table, whole, squared_norms(table, job.frame))
    assert set(range(400, 404)) <= set(found.tolist())
    assert len(found) < 100


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
@example([2**62] * 50)
@CHECK
def test_totals_leave_int64(weights):
    assert exact_total(np.array(weights)) == sum(weights)


@given(tables(), st.data())
@CHECK
def test_potentials_for_any_blocks_and_states(table, data):
    pick = st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=4)
    seeds = table[data.draw(pick)].astype(np.float64)
    candidates = table[data.draw(pick)].astype(np.float64)
    job = job_for(table, seeds, candidates=candidates)
    to_seeds = np.array(whole_units(table, seeds, job.unit), dtype=object).min(axis=1)
    to_candidates = np.array(whole_units(table, candidates, job.unit), dtype=object)
    wanted = np.minimum(to_candidates, to_seeds[:, None])
    early = job_for(table, seeds[:-1], candidates=candidates)
    rest = []
    for part in batches(table, data.draw(st.integers(1, len(table)))):
        rows = slice(part.start, part.start + len(part.rows))
        junk = np.zeros(len(part.rows), dtype=np.int64)
        states = [
            None,
            early.step(part, None)[1],
            job.step(part, None)[1],
            SeedState(len(seeds) + 1, junk, junk.astype(np.float32)),
        ]
        for state in states:
            partial, after = job.step(part, state)
            assert partial == [(part.start, wanted[rows].sum(axis=0).tolist())]
            assert after.n_seeds == len(seeds)
            assert after.weights.tolist() == to_seeds[rows].tolist()
        assert not junk.any()
        rest.append(partial)
    merged = functools.reduce(job.merge, rest)
    assert sorted(merged) == sorted(one for part in rest for one in part)


@pytest.mark.parametrize("n", [1, 4095, 4096, 4097])
def test_inverting_finds_the_row_that_passes(n):
    table = np.random.default_rng(n).integers(0, 4, (n, 1)).astype(np.uint8)
    table[-1] = 9
    seeds = np.zeros((1, 1))
    weights = (table[:, 0].astype(int) ** 2).tolist()
    ends = np.cumsum(weights)
    lefts = sorted({0, ends[-1] - 1, *(ends[:-1][:5]).tolist(), *(ends[:-1][-5:]).tolist()})
    targets = {70: [(i, int(left)) for i, left in enumerate(lefts)]}
    job = Invert(seeds, Frame(None, 0), 0, "uint8", targets=targets)
    found, _ = job.step(Batch(70, table), None)
    for (place, index, row), left in zip(found, lefts, strict=True):
        i = index - 70
        assert ends[i] - weights[i] <= left < ends[i]
        assert row.tolist() == table[i].tolist()
        assert lefts[place] == left
        assert not np.shares_memory(row, table)
    too_far = Invert(seeds, Frame(None, 0), 0, "uint8", targets={70: [(0, int(ends[-1]))]})
    with pytest.raises(ValueError, match="exceeds the sum"):
        too_far.step(Batch(70, table), None)
    assert job.step(Batch(0, table), None)[0] == []


@given(tables(), st.data())
@CHECK
def test_rows_by_index(table, data):
    n = len(table)
    wanted = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6))
    rows_per_block = data.draw(st.integers(1, n))
    with session_over(table, rows_per_block) as session:
        got = take_rows(session, wanted)
    np.testing.assert_array_equal(got, table[wanted].astype(np.float64))
    job = TakeRows(tuple(wanted))
    parts = [job.step(part, None)[0] for part in batches(table, rows_per_block)]
    assert sorted(functools.reduce(job.merge, parts)) == sorted(set(wanted))


@given(tables(), st.integers(0, 2**32), st.data())
@CHECK
def test_random_rows_are_distinct_for_any_blocks(table, seed, data):
    n = len(table)
    k = data.draw(st.integers(1, n))
    marked = np.column_stack([np.arange(n), np.arange(n)]).astype(np.int32)
    picks = []
    for rows_per_block in (n, data.draw(st.integers(1, n))):
        rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
        with session_over(marked, rows_per_block) as session:
            picks.append(alone(session, random_rows(Population(session.cut), k, rng)))
    np.testing.assert_array_equal(*picks)
    assert len(set(picks[0][:, 0].tolist())) == k


@given(tables(), st.integers(0, 2**32), st.data())
@FEW
def test_seeds_are_rows_and_do_not_depend_on_blocks(table, seed, data):
    k = data.draw(st.integers(1, min(len(table), 6)))
    before = table.copy()
    seeds = seeds_of(table, k, seed)
    assert seeds.shape == (k, table.shape[1])
    assert seeds.dtype == np.float64
    chosen = rows_chosen(table, seeds)
    again = seeds_of(table, k, seed, data.draw(st.integers(1, len(table))))
    np.testing.assert_array_equal(seeds, again)
    # No seed is repeated while a row differs from all of them by a whole unit.
    unit = job_for(table, seeds).unit
    weights = np.array(whole_units(table, seeds, unit), dtype=object).min(axis=1)
    if len(set(chosen)) < k:
        first = whole_units(table, table[sorted(set(chosen))].astype(np.float64), unit)
        assert max(map(min, first)) == 0
    assert weights.min() == 0
    np.testing.assert_array_equal(table, before)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_threads_and_the_synchronous_scheduler_draw_alike(dtype):
    table = np.random.default_rng(2).integers(0, 200, (3000, 5)).astype(dtype)
    wanted = seeds_of(table, 9, 4)
    assert len(set(rows_chosen(table, wanted))) == 9
    for options in ({"scheduler": "synchronous"}, {"num_workers": 1}, {"num_workers": 7}):
        with dask.config.set(options):
            for rows_per_block in (None, 1, 37, 1000, 3000) if "scheduler" in options else (64,):
                if rows_per_block == 1:
                    continue
                np.testing.assert_array_equal(seeds_of(table, 9, 4, rows_per_block), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", [10, -10, 60, -60])
def test_scaled_reals_choose_the_same_rows(dtype, power):
    table = np.random.default_rng(3).standard_normal((500, 3)).astype(dtype)
    table = np.concatenate([table, table + 5])
    wanted = seeds_of(table, 8, 1)
    scaled = seeds_of(np.ldexp(table, power).astype(dtype), 8, 1)
    np.testing.assert_array_equal(scaled, np.ldexp(wanted, power))


def test_scaled_and_wider_integers_choose_the_same_rows():
    table = np.random.default_rng(4).integers(0, 100, (1000, 4)).astype(np.uint8)
    wanted = rows_chosen(table, seeds_of(table, 8, 1))
    for dtype in ("int16", "uint32", "int64"):
        assert rows_chosen(table, seeds_of(table.astype(dtype), 8, 1)) == wanted
    for dtype in ("int32", "int64"):
        larger = table.astype(dtype) * 1000
        assert rows_chosen(larger, seeds_of(larger, 8, 1)) == wanted


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_fewer_distinct_rows_than_clusters(dtype):
    table = np.array([[1, 2], [1, 2], [3, 4], [1, 2], [3, 4]], dtype=dtype)
    assert set(rows_chosen(table, seeds_of(table, 5))) == {0, 2}
    same = np.full((6, 2), 7, dtype=dtype)
    assert seeds_of(same, 4).tolist() == [[7, 7]] * 4
    assert seeds_of(same[:1], 1).tolist() == [[7, 7]]


def test_far_groups_each_get_a_seed():
    rng = np.random.default_rng(0)
    table = (np.repeat(np.arange(6) * 1000.0, 50)[:, None] + rng.random((300, 2))).astype("f4")
    for seed in range(5):
        assert sorted(np.array(rows_chosen(table, seeds_of(table, 6, seed))) // 50) == [*range(6)]


def test_draws_follow_the_squared_distances():
    # Rows 0, 1 and 3 away from a first seed at 0: the second is drawn 1 to 9, of 3 trials the best.
    table = np.array([[0], [1], [3]], dtype=np.uint8)
    seconds = [rows_chosen(table, seeds_of(table, 2, seed)) for seed in range(150)]
    assert {first for first, _ in seconds} == {0, 1, 2}
    assert all(first != second for first, second in seconds)


@pytest.mark.parametrize(
    ("variance", "dtype", "exponent"),
    [(0, "uint8", 0), (0, "float64", 0), (1, "uint8", 0), (2**30, "uint8", 6), (1, "float64", -24),
     (Fraction(1, 2**50), "float32", -74), (-1, "float64", 0)],
)  # fmt: skip
def test_units(variance, dtype, exponent):
    assert unit_exponent(Fraction(variance), dtype) == exponent
