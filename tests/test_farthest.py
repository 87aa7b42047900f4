"""The farthest rows: exact distances downwards, ties to the lowest row, for any blocks."""

import functools

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, batches, centers_for, frames_for, tables

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.farthest import Farthest
from daskcluster.kernels.frame import Frame


def found(job, parts):
    return functools.reduce(job.merge, (job.step(part, None)[0] for part in parts))


def plain(rows):
    return [(far.distance, far.index, far.label, far.row.tolist()) for far in rows]


@given(tables(), st.data())
@CHECK
def test_farthest_rows_equal_the_oracle_for_any_blocks(table, data):
    centers = data.draw(centers_for(table))
    job = Farthest(
        centers,
        data.draw(st.sampled_from(frames_for(centers))),
        data.draw(st.integers(1, len(table) + 2)),
    )
    labels = reference.nearest(table, centers)
    order = [one for one in reference.farthest(table, labels, centers) if one[0] > 0]
    order = order[: job.n_far]
    wanted = [(gap, i, labels[i], table[i].tolist()) for gap, i in order]
    parts = batches(table, data.draw(st.integers(1, len(table))))
    assert plain(found(job, parts)) == wanted
    assert plain(found(job, data.draw(st.permutations(parts)))) == wanted


def test_merge_is_associative_and_commutative():
    table = np.array([[0.0], [5.0], [-5.0], [5.0], [2.0], [-5.0], [1.0]])
    job = Farthest(np.zeros((1, 1)), Frame(None, 0), 3)
    a, b, c = (job.step(part, None)[0] for part in batches(table, 3))
    wanted = plain(job.merge(job.merge(a, b), c))
    assert [i for _, i, _, _ in wanted] == [1, 2, 3]
    assert plain(job.merge(a, job.merge(c, b))) == wanted
    assert plain(job.merge(c, job.merge(b, a))) == wanted
    assert plain(job.merge(a, [])) == plain(a)


@pytest.mark.parametrize("d", [1, 3, 2000])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_near_ties_are_ordered_exactly(d, offset):
    center = np.full((1, d), offset)
    rows = np.full((50, d), offset + 1.0)
    # Every row is a few ulp farther than the one before it.
    rows[:, d // 2] += np.arange(50) * np.spacing(offset + 1.0)
    job = Farthest(center, Frame(None, 0), 7)
    assert [far.index for far in found(job, [Batch(0, rows)])] == list(range(49, 42, -1))
    job = Farthest(center, Frame(None, 0), 7)
    rows[:, d // 2] = offset + 1.0
    assert [far.index for far in found(job, batches(rows, 8))] == list(range(7))


def test_distances_whose_squares_vanish():
    rows = np.array([[1e-200], [3e-200], [2e-200], [0.0], [3e-200]])
    job = Farthest(np.zeros((1, 1)), Frame(None, -660), 3)
    assert [far.index for far in found(job, batches(rows, 2))] == [1, 4, 2]


def test_far_rows_do_not_keep_their_block():
    rows = np.arange(3000.0).reshape(1000, 3)
    for far in found(Farthest(np.zeros((1, 3)), Frame(None, 0), 4), batches(rows, 100)):
        assert not np.shares_memory(far.row, rows)
