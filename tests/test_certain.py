"""The least and most certain rows: exact order, for any blocks, ties to the lowest row."""

import functools
import pickle
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from strategies import CHECK, batches, centers_for, frames_for, tables

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.certain import Certain
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.responsibilities import Softness
from daskcluster.kernels.sparse import SparseRows


def found(job, parts):
    merged = functools.reduce(job.merge, (job.step(part, None)[0] for part in parts))
    return {j: tuple([one.index for one in side] for side in sides) for j, sides in merged.items()}


def squared(row, center):
    gaps = [Fraction(float(x)) - Fraction(float(c)) for x, c in zip(row, center, strict=True)]
    return sum(gap * gap for gap in gaps)


def oracle(table, centers, n_each):
    """Sorted by fractions, all rows of each cluster."""
    labels = reference.nearest(table, centers)
    distinct = np.unique(centers + 0.0, axis=0)
    wanted = {}
    for j in sorted(set(np.asarray(labels).tolist())):
        closeness = []
        for i in np.flatnonzero(np.asarray(labels) == j).tolist():
            own = squared(table[i], centers[j])
            others = [squared(table[i], c) for c in distinct if (c != centers[j]).any()]
            closeness.append((own / min(others) if others else own, i))
        least = [i for _, i in sorted(closeness, key=lambda one: (-one[0], one[1]))]
        wanted[j] = least[:n_each], [i for _, i in sorted(closeness)][:n_each]
    return wanted


@given(tables(), st.data())
@CHECK
def test_rows_are_those_of_the_oracle_for_any_blocks(table, data):
    centers = data.draw(centers_for(table))
    n_each = data.draw(st.integers(1, 4))
    frame = data.draw(st.sampled_from(frames_for(centers)))
    job = Certain(centers, frame, n_each, tuple(range(len(centers))))
    wanted = oracle(table, centers, n_each)
    parts = batches(table, data.draw(st.integers(1, len(table))))
    assert found(job, parts) == wanted
    assert found(job, data.draw(st.permutations(parts))) == wanted


def test_sparse_rows_are_those_of_dense_ones(rng):
    table = rng.integers(1, 4, (60, 12)) * (rng.random((60, 12)) < 0.2)
    table = table.astype(np.float64)
    table[[3, 40]] = 0
    centers = np.array([table[:20].mean(axis=0), table[20:40].mean(axis=0), np.zeros(12)])
    job = Certain(centers, Frame(None, 0), 3, (0, 1, 2))
    rows = SparseRows.of(sparse.csr_array(table))
    parts = [Batch(i, rows[i : i + 7]) for i in range(0, 60, 7)]
    assert found(job, parts) == oracle(table, centers, 3)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_near_ties_are_ordered_exactly(offset):
    """Rows a few ulp apart, whose intervals all meet."""
    centers = np.array([[offset, 0.0], [offset + 8.0, 0.0]])
    rows = np.full((40, 2), [offset + 2.0, 0.0])
    rows[:, 0] += np.arange(40)[::-1] * np.spacing(offset + 2.0)
    job = Certain(centers, Frame(None, 0), 5, (0, 1))
    least, most = found(job, batches(rows, 7))[0]
    assert least == [0, 1, 2, 3, 4]
    assert most == [39, 38, 37, 36, 35]


def test_equal_rows_tie_to_the_lowest(rng):
    centers = np.array([[0.0], [10.0]])
    rows = np.repeat([[4.0], [1.0]], 5000, axis=0)
    job = Certain(centers, Frame(None, 0), 3, (0, 1))
    assert found(job, batches(rows, 999)) == {0: ([0, 1, 2], [5000, 5001, 5002])}


def test_only_clusters_that_are_asked_for_and_rows_that_weigh():
    rows = np.array([[0.0], [1.0], [9.0], [4.0]])
    job = Certain(np.array([[0.0], [10.0]]), Frame(None, 0), 2, (0,))
    weights = np.array([1, 0, 2, 1])
    assert found(job, [Batch(0, rows, weights=weights)]) == {0: ([3, 0], [0, 3])}


@pytest.mark.parametrize("beta", [0.05, 2.0, np.inf])
def test_soft_rows_go_by_their_responsibilities(rng, beta):
    rows = rng.normal(size=(300, 3)) * 4
    centers = rows[:4].copy()
    job = Certain(centers, Frame(None, 0), 6, (0, 1, 2, 3), Softness(beta, "euclidean"))
    gaps = np.sqrt(((rows[:, np.newaxis] - centers) ** 2).sum(axis=2))
    labels = gaps.argmin(axis=1)
    shares = np.exp(-min(beta, 1e6) * (gaps - gaps.min(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    doubts = np.sort(shares, axis=1)[:, :-1].sum(axis=1)
    merged = functools.reduce(job.merge, [job.step(p, None)[0] for p in batches(rows, 64)])
    for j, (least, most) in merged.items():
        own = np.sort(doubts[labels == j])
        assert [one.doubt for one in least] == pytest.approx(own[::-1][:6], rel=1e-6, abs=1e-300)
        assert [one.doubt for one in most] == pytest.approx(own[:6], rel=1e-6, abs=1e-300)
        assert all(labels[one.index] == j for one in least + most)


def test_rows_do_not_keep_their_block_and_know_their_class():
    rows = np.arange(3000.0).reshape(1000, 3)
    job = Certain(rows[[0, 999]], Frame(None, 0), 4, (0, 1))
    labels = np.arange(1000, dtype=np.int32)
    for least, most in job.step(Batch(0, rows, labels), None)[0].values():
        for one in least + most:
            assert not np.shares_memory(one.row, rows)
            assert one.known == one.index


def test_it_travels_without_what_it_has_found_out():
    rows = np.full((40, 2), [2.0, 0.0]) + np.arange(40)[:, np.newaxis] * 1e-16
    job = Certain(np.array([[0.0, 0.0], [8.0, 0.0]]), Frame(None, 0), 5, (0, 1))
    before = len(pickle.dumps(job))
    part = job.step(Batch(0, rows), None)[0]
    assert len(pickle.dumps(job)) == before
    there = pickle.loads(pickle.dumps(job))
    assert found(there, [Batch(0, rows)]) == found(job, [Batch(0, rows)])
    assert there.merge({}, pickle.loads(pickle.dumps(part))).keys() == part.keys()
