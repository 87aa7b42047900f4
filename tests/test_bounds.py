"""Bounds that prune: never above the truth, and never in the way of a label."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, centers_for, frames_for, grid_for, tables

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.bounds import _BINS, _REACH, Drift
from daskcluster.kernels.compiled_centers import CompiledDrift, can_drift
from daskcluster.kernels.frame import Frame, centered
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.nearest import Nearest


def moves_for(data, centers):
    """Centres that have moved a little, a lot, together, apart, or not at all."""
    step = data.draw(st.sampled_from([0.0, 2.0**-40, 2.0**-8, 0.5, 64.0]))
    scale = np.abs(centers).max() or 1.0
    direction = data.draw(st.integers(0, 2**32 - 1).map(np.random.default_rng))
    moves = direction.integers(-2, 3, centers.shape) / 4
    if data.draw(st.booleans()):
        moves[:] = moves[0]
    moved = centers + scale * step * moves
    return moved if np.abs(moved).max() <= 2.0**480 else centers


@pytest.mark.parametrize("kind", [Drift, CompiledDrift])
@given(tables(max_rows=12), st.data())
@CHECK
def test_widened_bounds_hold_in_exact_arithmetic(kind, table, data):
    if kind is CompiledDrift:
        pytest.importorskip("numba")
    before = data.draw(centers_for(table))
    rows = reference.fractions(table)
    for frame in frames_for(before):
        after = before
        found = Nearest(before, frame).find(table)
        gaps, radii = found.gaps, found.radii
        for _ in range(3):
            before, after = after, moves_for(data, after)
            drift = (kind if can_drift(frame) else Drift)(before, after, frame)
            gaps, radii = drift.widen(found.labels, gaps, radii)
        scale = reference.Fraction(2) ** frame.exponent
        own = reference.fractions(after)
        for row, label, gap, radius in zip(rows, found.labels, gaps, radii, strict=True):
            squares = [reference.distance(row, center) / scale**2 for center in own]
            mine = squares.pop(label)
            assert not radius < np.inf or mine <= reference.Fraction(float(radius)) ** 2
            if squares and np.isfinite(gap):
                assert reference.Fraction(float(gap)) <= min(squares) - mine
            assert not (squares and gap == np.inf)


@given(tables(), st.data())
@CHECK
def test_pruned_labels_equal_the_oracle_over_many_moves(table, data):
    centers = data.draw(centers_for(table))
    frame = data.draw(st.sampled_from(frames_for(centers)))
    grid = grid_for(table)
    previous, state = None, None
    batch = Batch(0, table)
    for iteration in range(5):
        job = Assign(centers, previous, iteration, frame, grid)
        asked = job.ask(state)
        if asked.rows is not None:
            picked = batch.pick(asked.rows) if data.draw(st.booleans()) else batch
            batch_seen = picked if len(asked.rows) else None
        else:
            batch_seen = batch
        state = job.step(batch_seen, asked)[1]
        np.testing.assert_array_equal(state.labels, reference.nearest(table, centers))
        previous, centers = centers, moves_for(data, centers)


def blobs(n=2000, k=7, d=5, spread=0.05, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(k, d))
    return middles, middles[rng.integers(0, k, n)] + spread * rng.normal(size=(n, d))


def test_rows_of_clear_clusters_are_seen_once():
    centers, rows = blobs()
    frame = centered(Frame(None, 0), rows.mean(axis=0))
    grid = grid_for(rows)
    state, previous = None, None
    for iteration in range(4):
        job = Assign(centers, previous, iteration, frame, grid)
        asked = job.ask(state)
        assert (asked.rows is None) == (iteration == 0)
        if iteration:
            assert len(asked.rows) == 0
        state = job.step(None if iteration else Batch(0, rows), asked)[1]
        previous, centers = centers, centers + 0.01 * (iteration + 1)


def test_what_moves_all_alike_is_no_loss():
    """Of two centres the bound is the new gap itself, but for what rounding may hide."""
    centers, rows = blobs(k=2, spread=0.5)
    frame = Frame(None, 0)
    found = Nearest(centers, frame).find(rows)
    gaps, _ = Drift(centers, centers + 0.125, frame).widen(found.labels, found.gaps, found.radii)
    after = Nearest(centers + 0.125, frame).find(rows)
    same = (after.labels == found.labels) & (gaps > 0)
    assert same.mean() > 0.9
    # ||e_j - e_a|| is a root of differences of squares, each within 2**-18 of them.
    np.testing.assert_allclose(gaps[same], after.gaps[same], atol=1e-2)
    assert gaps.dtype == np.float32


def test_rows_far_beyond_the_bins_are_bounded_too():
    centers = np.array([[0.0, 1.0], [0.0, -1.0]])
    rows = np.array([[_REACH * _BINS, 3.0], [1e4, 2.0]])
    found = Nearest(centers, Frame(None, 0)).find(rows)
    after = centers + np.array([[0.0, 1e-6], [0.0, 0.0]])
    gaps, _ = Drift(centers, after, Frame(None, 0)).widen(found.labels, found.gaps, found.radii)
    assert (gaps > 0).tolist() == [True, True]
    after = centers + np.array([[-0.5, 0.0], [0.0, 0.0]])
    gaps, _ = Drift(centers, after, Frame(None, 0)).widen(found.labels, found.gaps, found.radii)
    assert not (gaps > 0).any()
