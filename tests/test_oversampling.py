"""k-means||: the same draws for any blocks and workers, in proportion to squared distances."""

import functools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from strategies import CHECK, FEW, batches, session_over, tables
from test_moments import moments_of

from daskcluster import KMeans
from daskcluster.engine import alone
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.oversampling import (
    CandidateState,
    CountNearest,
    Oversample,
    row_numbers,
)
from daskcluster.kernels.seeds import unit_exponent
from daskcluster.seeding import Population, kmeans_parallel
from daskcluster.seeding.parallel import most_drawn
from daskcluster.survey import scale_of


def job_for(kind, table, seeds, **more):
    scale = scale_of(moments_of(table))
    unit = unit_exponent(scale.total_variance, table.dtype.name)
    return kind(seeds, scale.frame, unit, table.dtype.name, **more)


def units(table, seeds, unit):
    rows, points = reference.fractions(table), reference.fractions(seeds)
    scale, third = Fraction(2) ** unit, Fraction(1, 3)
    return [[int((reference.distance(r, p) / scale + third) // 1) for p in points] for r in rows]


def seeds_of(table, k, seed=0, rows_per_block=None, weights=None):
    scale = scale_of(moments_of(table))
    with session_over(table, rows_per_block) as session:
        population = Population(session.cut, weights)
        run = kmeans_parallel(population, scale, table.dtype.name, k, (seed, 0))
        return alone(session, run), session.n_tasks


@given(st.integers(0, 100), st.integers(0, 30))
@CHECK
def test_a_row_has_its_number_whatever_the_block(start, n):
    whole = row_numbers((7, 9), 0, 200)
    np.testing.assert_array_equal(row_numbers((7, 9), start, n), whole[start : start + n])
    assert not np.array_equal(row_numbers((7, 10), 0, 200), whole)


@given(tables(max_rows=14), st.data())
@CHECK
def test_rounds_for_any_blocks_and_states(table, data):
    pick = st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=4)
    seeds = table[data.draw(pick)].astype(np.float64)
    weights = None
    if data.draw(st.booleans()):
        some = st.lists(st.integers(0, 2**37), min_size=len(table), max_size=len(table))
        weights = np.array(data.draw(some))
    job = job_for(Oversample, table, seeds, key=(1, 2), most=3)
    count = job_for(CountNearest, table, seeds)
    early = job_for(CountNearest, table, seeds[:-1]) if len(seeds) > 1 else None
    wanted = units(table, seeds, job.unit)
    least = [min(row) for row in wanted]
    nearest = [row.index(min(row)) for row in wanted]
    times = [1] * len(table) if weights is None else weights.tolist()
    rest, counts = [], []
    for part in batches(table, data.draw(st.integers(1, len(table)))):
        rows = slice(part.start, part.start + len(part.rows))
        batch = Batch(part.start, part.rows, weights=None if weights is None else weights[rows])
        n = len(part.rows)
        junk = CandidateState(
            len(seeds) + 1, np.zeros(n, np.int64), np.zeros(n, np.int32), np.zeros(n, np.float32)
        )
        states = [None, junk, count.step(batch, None)[1]]
        states += [] if early is None else [early.step(batch, None)[1]]
        for state in states:
            partial, after = job.step(batch, state)
            assert partial[0] == sum(d * t for d, t in zip(least[rows], times[rows], strict=True))
            assert after.weights.tolist() == least[rows]
            assert after.nearest.tolist() == nearest[rows]
        rest.append(partial)
        counts.append(count.step(batch, None)[0])
    total, first = functools.reduce(job.merge, rest)
    assert total == sum(d * t for d, t in zip(least, times, strict=True))
    numbers = row_numbers((1, 2), 0, len(table)).tolist()
    heavy = [(i, d * t) for i, (d, t) in enumerate(zip(least, times, strict=True)) if d * t]
    order = sorted(heavy, key=lambda one: Fraction(numbers[one[0]], one[1]))[:3]
    assert [(row, number, d) for _, row, number, d, _ in first] == [
        (i, numbers[i], d) for i, d in order
    ]
    for _, row, _, _, elements in first:
        np.testing.assert_array_equal(elements[0], table[row])
    found = functools.reduce(count.merge, counts)
    assert found.tolist() == [
        sum(t for t, near in zip(times, nearest, strict=True) if near == j)
        for j in range(len(seeds))
    ]


def test_distances_are_held_for_a_run_of_rows_at_a_time():
    """Of a block's rows and many candidates all would be far more than the block."""
    table = np.random.default_rng(0).integers(0, 256, (16_384, 8)).astype(np.uint8)
    job = CountNearest(table[:1000].astype(np.float64), Frame(None, 0), 0, "uint8")
    tracemalloc.start()
    job.step(Batch(0, table), None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(table) * 1000 * 8 / 4


@given(tables(), st.integers(0, 2**32), st.data())
@FEW
def test_seeds_are_rows_and_do_not_depend_on_blocks(table, seed, data):
    k = data.draw(st.integers(1, min(len(table), 6)))
    seeds, _ = seeds_of(table, k, seed)
    assert seeds.shape == (k, table.shape[1])
    assert (table.astype(np.float64)[None] == seeds[:, None]).all(axis=2).any(axis=1).all()
    again, _ = seeds_of(table, k, seed, data.draw(st.integers(1, len(table))))
    np.testing.assert_array_equal(seeds, again)


@pytest.mark.parametrize("factor", [1000, 2.0**-30])
def test_the_units_of_the_data_change_neither_seeds_nor_passes(factor):
    table, _ = make_blobs(3000, 5, centers=12, random_state=0)
    wanted, tasks = seeds_of(table, 12)
    scaled, same = seeds_of(table * factor, 12)
    assert same == tasks
    np.testing.assert_allclose(scaled, wanted * factor, rtol=1e-12)


def test_an_offset_changes_no_choice():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 1000, (2000, 3)).astype(np.float64)
    wanted, _ = seeds_of(table, 9)
    moved, _ = seeds_of(table + 2.0**20, 9)
    np.testing.assert_array_equal(moved - 2.0**20, wanted)


def test_sixty_clusters_find_sixty_candidates(monkeypatch):
    seen = []
    monkeypatch.setattr(
        CountNearest, "merge",
        lambda self, a, b: seen.append(len(self.seeds)) or a + b,
    )  # fmt: skip
    table = np.random.default_rng(1).standard_normal((5000, 4))
    seeds, _ = seeds_of(table, 60, rows_per_block=500)
    assert len(np.unique(seeds, axis=0)) == 60
    # Five rounds of 120 on average, and the first.
    assert 480 <= seen[0] <= 720


def test_draws_follow_the_squared_distances():
    """Each round draws every row on its own, with twice as many clusters times its share."""
    table = np.array([[0.0], [1.0], [2.0], [4.0]] * 50)
    job = job_for(Oversample, table, np.zeros((1, 1)), most=most_drawn(2))
    drawn = np.zeros(4)
    for seed in range(400):
        total, first = job_for(
            Oversample, table, np.zeros((1, 1)), key=(seed, 0), most=most_drawn(2)
        ).step(Batch(0, table), None)[0]
        for _, row, number, distance, _ in first:
            drawn[row % 4] += number * total < (2 * distance) << 64
    assert job.most > 2
    expected = 400 * 2 * np.array([0, 1, 4, 16]) / 21
    assert drawn[0] == 0
    np.testing.assert_allclose(drawn[1:], expected[1:], rtol=0.25)


def test_fewer_distinct_rows_than_clusters():
    table = np.array([[1, 2], [1, 2], [3, 4], [1, 2], [3, 4]], dtype=np.float32)
    seeds, _ = seeds_of(table, 4)
    assert {tuple(row) for row in seeds.tolist()} == {(1.0, 2.0), (3.0, 4.0)}
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\)"):
        KMeans(4, init="k-means||", random_state=0).fit(table)


def test_is_as_good_as_scikit_learns_seeds():
    table, _ = make_blobs(4000, 8, centers=20, cluster_std=2.0, random_state=3)
    ours = [KMeans(20, init="k-means||", random_state=s).fit(table).inertia_ for s in range(10)]
    theirs = [SklearnKMeans(20, n_init=1, random_state=s).fit(table).inertia_ for s in range(10)]
    assert np.mean(ours) <= 1.02 * np.mean(theirs)
