"""The reduction of hard k-means: any split, any order, any state, the same bits."""

import functools
from copy import deepcopy

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, batches, centers_for, frames_for, grid_for, tables

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.hard import Assign, HardState
from daskcluster.kernels.hard_sums import _RUN, HardPartial, merge_hard, moved
from daskcluster.sizing import ROW_TYPES


def same(a, b):
    np.testing.assert_array_equal(a.sums, b.sums)
    np.testing.assert_array_equal(a.counts, b.counts)
    assert a.changed == b.changed


def total(job, parts, states=None):
    states = states or [None] * len(parts)
    steps = [job.step(part, job.ask(state)) for part, state in zip(parts, states, strict=True)]
    return functools.reduce(job.merge, (p for p, _ in steps)), [s for _, s in steps]


@given(tables(), st.data())
@CHECK
def test_sums_and_counts_equal_the_oracle_for_any_blocks(table, data):
    centers = data.draw(centers_for(table))
    grid = grid_for(table)
    frame = data.draw(st.sampled_from(frames_for(centers)))
    job = Assign(centers, None, 1, frame, grid)
    labels = reference.nearest(table, centers)
    unit = reference.unit_of(grid)
    sums, counts = reference.sums(table, labels, len(centers), unit)
    whole, _ = job.step(Batch(0, table), job.ask(None))
    assert [v * unit for v in exact.to_ints(whole.sums)] == [v for row in sums for v in row]
    assert whole.counts.tolist() == counts
    assert whole.changed == len(table)
    parts = batches(table, data.draw(st.integers(1, len(table))))
    order = data.draw(st.permutations(range(len(parts))))
    split, states = total(job, [parts[i] for i in order])
    same(split, whole)
    for i, state in zip(order, states, strict=True):
        assert state.iteration == 1
        np.testing.assert_array_equal(state.labels, labels[parts[i].start :][: len(parts[i].rows)])


@given(tables(), st.data())
@CHECK
def test_lost_stale_and_present_states_give_one_partial(table, data):
    before, after = (data.draw(centers_for(table)) for _ in range(2))
    k = min(len(before), len(after))
    before, after = before[:k], after[:k]
    grid, frame = grid_for(table), data.draw(st.sampled_from(frames_for(before)))
    first = Assign(before, None, 6, frame, grid)
    parts = batches(table, data.draw(st.integers(1, len(table))))
    start, states = total(first, parts)
    job = Assign(after, before, 7, frame, grid)
    partial, _ = total(job, parts, deepcopy(states))
    same(partial, total(job, parts)[0])
    wrong = (states[0].labels[:1] + 1) % k
    stale = [
        HardState(
            tag, np.resize(wrong, len(s.labels)).astype(np.int32), s.norms, s.gaps + 1, s.radii
        )
        for tag, s in zip(np.resize([5, 7, 8, 0], len(states)).tolist(), states, strict=True)
    ]
    same(partial, total(job, parts, stale)[0])
    mixed = [data.draw(st.sampled_from([None, a, b])) for a, b in zip(states, stale, strict=True)]
    same(partial, total(job, parts, mixed)[0])
    # The state before plus the change is the state after.
    fresh, _ = total(Assign(after, None, 7, frame, grid), parts)
    moved_on = merge_hard(start, partial)
    np.testing.assert_array_equal(moved_on.sums, fresh.sums)
    np.testing.assert_array_equal(moved_on.counts, fresh.counts)
    changed = reference.nearest(table, before) != reference.nearest(table, after)
    assert partial.changed == changed.sum()


@given(tables(), st.data())
@CHECK
def test_merge_is_associative_commutative_and_has_a_zero(table, data):
    centers = data.draw(centers_for(table))
    grid = grid_for(table)
    job = Assign(centers[::-1].copy(), centers, 1, Frame(None, 0), grid)
    third = max(len(table) // 3, 1)
    parts = batches(table, third)
    a, b, c = [job.step(parts[i % len(parts)], None)[0] for i in range(3)]
    same(merge_hard(a, b), merge_hard(b, a))
    same(merge_hard(merge_hard(a, b), c), merge_hard(a, merge_hard(b, c)))
    same(merge_hard(a, HardPartial(np.zeros_like(a.sums), np.zeros_like(a.counts), 0)), a)
    back = Assign(centers, centers[::-1].copy(), 2, Frame(None, 0), grid)
    undone = merge_hard(a, back.step(parts[0], None)[0])
    assert not undone.sums.any()
    assert not undone.counts.any()


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("n", [1, _RUN - 1, _RUN, _RUN + 1, 4 * _RUN + 1])
def test_runs_of_rows(dtype, n):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 120, (n, 2)).astype(dtype)
    if dtype in ("int64", "float64"):
        rows *= 2**40
    before, after = (rng.integers(0, 3, n).astype(np.int32) for _ in range(2))
    grid = grid_for(rows)
    unit = float(reference.unit_of(grid))
    whole = rows.astype(np.int64)
    wanted = np.zeros((3, 2), dtype=np.int64)
    np.add.at(wanted, after, whole)
    partial = moved(rows, None, after, 3, grid)
    assert [int(v * unit) for v in exact.to_ints(partial.sums)] == wanted.ravel().tolist()
    np.subtract.at(wanted, before, whole)
    change = moved(rows, before, after, 3, grid)
    assert [int(v * unit) for v in exact.to_ints(change.sums)] == wanted.ravel().tolist()
    assert change.changed == (before != after).sum()
    wanted_counts = np.bincount(after, minlength=3) - np.bincount(before, minlength=3)
    assert change.counts.tolist() == wanted_counts.tolist()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "float64"])
def test_largest_values_over_many_rows(dtype):
    n = 3 * _RUN
    value = {"int64": 2**53, "float64": 2.0**500}.get(dtype) or np.iinfo(dtype).max
    rows = np.full((n, 1), value, dtype=dtype)
    grid = grid_for(rows)
    unit = reference.unit_of(grid)
    partial = moved(rows, None, np.zeros(n, dtype=np.int32), 1, grid)
    assert [v * unit for v in exact.to_ints(partial.sums)] == [n * int(value)]
    assert exact.mean(partial.sums, partial.counts, grid)[0, 0] == float(value)
