"""Whole runs of Lloyd's algorithm against the oracle, bit for bit, and against scikit-learn."""

from dataclasses import replace

import dask.config
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from strategies import CHECK, FEW, centers_for, session_over, tables

from daskcluster import KMeans
from daskcluster.engine import alone, in_turns
from daskcluster.engine.memory import MEMORY
from daskcluster.fit.lloyd import Progression, lloyd
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.outputs import Label
from daskcluster.sizing import ROW_TYPES
from daskcluster.survey import scale_of, survey


def run(table, centers, rows_per_block=None, *, max_iter=50, tol=0.0, frame=None):
    """A run and the scale it used."""
    with session_over(table, rows_per_block) as session:
        scale = scale_of(survey(session, "X", len(table), table.dtype.name))
        scale = scale if frame is None else replace(scale, frame=frame)
        run = lloyd(session, scale, Progression(centers), max_iter=max_iter, tol=tol)
        return alone(session, run), scale


def oracle(table, centers, scale, *, max_iter=50, tol=0.0):
    unit = reference.unit_of(scale.moments.sum_grid)
    return reference.lloyd(table, centers, max_iter, tol, unit, scale.total_squares)


def same(a, b):
    """Two runs of the package, whatever the blocks."""
    np.testing.assert_array_equal(a.centers, b.centers)
    np.testing.assert_array_equal(a.cluster_sizes, b.cluster_sizes)
    assert (a.inertia, a.n_iter, a.converged) == (b.inertia, b.n_iter, b.converged)
    assert a.history == b.history


def equal(got, wanted):
    assert got.n_iter == wanted.n_iter
    np.testing.assert_array_equal(got.centers, wanted.centers)
    assert got.converged == wanted.converged
    assert got.inertia == wanted.inertia
    assert got.cluster_sizes.tolist() == wanted.sizes
    assert [(h["inertia"], h["empty"]) for h in got.history] == wanted.history
    assert [h["iteration"] for h in got.history] == [*range(1, got.n_iter + 1)]


@given(tables(), st.data())
@CHECK
def test_runs_equal_the_oracle_for_any_blocks(table, data):
    centers = data.draw(centers_for(table))
    max_iter = data.draw(st.sampled_from([1, 2, 3, 50]))
    before = table.copy(), centers.copy()
    got, scale = run(table, centers, max_iter=max_iter)
    wanted = oracle(table, centers, scale, max_iter=max_iter)
    equal(got, wanted)
    np.testing.assert_array_equal(Label(got.centers)(table), wanted.labels)
    rows_per_block = data.draw(st.integers(1, len(table)))
    same(run(table, centers, rows_per_block, max_iter=max_iter)[0], got)
    np.testing.assert_array_equal(table, before[0])
    np.testing.assert_array_equal(centers, before[1])


@given(tables(), st.sampled_from([1e-4, 0.01, 0.5]), st.data())
@FEW
def test_tol_is_the_rule_of_scikit_learn(table, tol, data):
    if table.dtype == np.float64 and np.abs(table).max() < 1e-100:
        table = np.ldexp(table, 664)  # their squared shifts vanish: the next test
    centers = data.draw(centers_for(table))
    centers[np.abs(centers) < 1e-150] = 0.0
    got, scale = run(table, centers, tol=tol)
    equal(got, oracle(table, centers, scale, tol=tol))


def test_tol_of_tiny_values():
    table = np.ldexp(np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [3.0]]), -664)
    got, scale = run(table, table[:2], tol=1e-4)
    equal(got, oracle(table, table[:2], scale, tol=1e-4))


@pytest.mark.parametrize(
    ("spread", "offset"),
    [(1.0, 0.0), (1.0, 1e6), (1e-6, 1e6)],
)
def test_inertia_of_reals_is_rounded_once(spread, offset):
    table = offset + np.random.default_rng(1).random((300, 2)) * spread
    got, _ = run(table, table[:2].copy())
    labels = Label(got.centers)(table)
    assert got.inertia == float(reference.direct_inertia(table, labels, got.centers))


@given(tables(), st.data())
@FEW
def test_lost_states_and_other_frames_change_nothing(table, data):
    centers = data.draw(centers_for(table))
    wanted, scale = run(table, centers)
    with pytest.MonkeyPatch.context() as patch:
        keep, lose = MEMORY.pop_state, data.draw(st.randoms(use_true_random=False))
        patch.setattr(MEMORY, "pop_state", lambda key: None if lose.random() < 0.5 else keep(key))
        same(run(table, centers, data.draw(st.integers(1, len(table))))[0], wanted)
    same(run(table, centers, frame=Frame(None, scale.moments.exponent))[0], wanted)
    same(run(table, centers, frame=Frame(None, 0))[0], wanted)


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("far", [1e3, 1e9])
def test_empty_clusters_take_the_farthest_rows(dtype, far):
    rng = np.random.default_rng(3)
    table = (rng.integers(0, 20, (30, 2)) + 100).astype(dtype)
    centers = np.array([[110.0, 110.0], [far, far], [far, 0.0], [far, -far], [108.0, 112.0]])
    got, scale = run(table, centers, 7)
    equal(got, oracle(table, centers, scale))
    assert got.history[0]["empty"] == 3
    # Never the origin, nor anywhere else outside the rows.
    assert (got.centers >= table.min(axis=0)).all()
    assert (got.centers <= table.max(axis=0)).all()
    assert (got.cluster_sizes > 0).all()


def test_donors_with_one_row_are_passed_over():
    # The farthest rows are alone in their clusters; the next come from a cluster of many.
    table = np.array([[0], [1], [2], [3], [1000], [-1000]], dtype=np.int32)
    centers = np.array([[1.0], [1500.0], [-1500.0], [9e6], [9e6 + 1]])
    got, scale = run(table, centers, max_iter=1)
    equal(got, oracle(table, centers, scale, max_iter=1))
    assert got.centers.ravel().tolist() == [1.5, 1000.0, -1000.0, 3.0, 0.0]


@pytest.mark.parametrize("value", [0, 7])
def test_no_row_moves_when_all_are_at_their_centres(value):
    table = np.full((5, 2), value, dtype=np.uint8)
    centers = np.array([[value, value], [200.0, 3.0], [value, value]])
    got, scale = run(table, centers)
    equal(got, oracle(table, centers, scale))
    np.testing.assert_array_equal(got.centers, centers)
    assert got.cluster_sizes.tolist() == [5, 0, 0]
    assert got.inertia == 0.0
    assert (got.n_iter, got.converged) == (1, True)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 32])
def test_tables_at_the_edge_of_a_block(dtype, n):
    table = np.random.default_rng(n).integers(0, 9, (n, 3)).astype(dtype)
    for k in {1, 2, n} & {*range(1, n + 1)}:
        centers = table[:k].astype(np.float64)
        got, scale = run(table, centers, 16)
        equal(got, oracle(table, centers, scale))
        same(run(table, centers)[0], got)


@pytest.mark.parametrize("n", [1023, 1024, 1025, 2049])
def test_estimators_at_the_edge_of_a_block(n):
    table = np.random.default_rng(n).integers(0, 256, (n, 4)).astype(np.uint8)
    init = table[:6].astype(np.float64)
    fit = KMeans(6, init=init, tol=0.0).fit(table)
    got, _ = run(table, init, 100, max_iter=300)
    np.testing.assert_array_equal(fit.cluster_centers_, got.centers)
    assert (fit.inertia_, fit.n_iter_) == (got.inertia, got.n_iter)
    squares = ((table[:, None].astype(np.float64) - got.centers) ** 2).sum(axis=2)
    assert (squares[np.arange(n), fit.labels_] <= squares.min(axis=1) * (1 + 1e-12)).all()
    assert np.bincount(fit.labels_).tolist() == fit.cluster_sizes_.tolist()
    assert fit.inertia_ == float(reference.direct_inertia(table, fit.labels_, got.centers))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_n_iter_and_labels_of_scikit_learn(seed, dtype):
    table, _ = make_blobs(400, 3, centers=5, cluster_std=2.0, random_state=seed)
    table = table.astype(dtype)
    init = table[:5].copy()
    theirs = SklearnKMeans(5, init=init, n_init=1, tol=0.0, algorithm="lloyd").fit(table)
    ours = KMeans(5, init=init, tol=0.0).fit(table)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.converged_


def test_n_iter_of_scikit_learn_with_tol():
    table, _ = make_blobs(500, 4, centers=8, cluster_std=6.0, random_state=1)
    for tol in (1e-4, 1e-2, 0.3):
        theirs = SklearnKMeans(8, init=table[:8], n_init=1, tol=tol, algorithm="lloyd").fit(table)
        ours = KMeans(8, init=table[:8], tol=tol).fit(table)
        assert ours.n_iter_ == theirs.n_iter_
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)


@pytest.mark.parametrize("bounded", [True, False])
def test_runs_in_turns_do_not_see_each_other(bounded):
    table = np.random.default_rng(0).random((200, 3))
    starts = [table[:4], table[50:54], table[:4], table[7:9], table[:1]]
    wanted = [run(table, start)[0] for start in starts]
    with session_over(table, 30) as session:
        scale = scale_of(survey(session, "X", 200, "float64"))
        tasks = session.n_tasks

        def begin(start):
            run = Progression(start)
            return lloyd(session, scale, run, max_iter=50, tol=0.0, bounded=bounded)

        found = in_turns(session, {7 + i: begin(start) for i, start in enumerate(starts)})
        assert list(found) != []
        for i, one in enumerate(wanted):
            same(found[7 + i], one)
        # They share their passes: as many as the longest run has.
        passes = max(one.n_iter for one in wanted)
        assert session.n_tasks - tasks <= (passes + 1) * session.n_threads * 4


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_fits_on_threads_and_the_synchronous_scheduler_are_alike(init):
    table = np.random.default_rng(7).standard_normal((3000, 6)).astype(np.float32)
    fits = []
    for options in ({}, {"scheduler": "synchronous"}, {"num_workers": 5}):
        with dask.config.set(options):
            fits.append(KMeans(7, init=init, n_init=2, random_state=3).fit(table))
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.cluster_centers_, fits[0].cluster_centers_)
        np.testing.assert_array_equal(fit.labels_, fits[0].labels_)
        assert (fit.inertia_, fit.n_iter_) == (fits[0].inertia_, fits[0].n_iter_)
        assert fit.history_ == fits[0].history_


def test_inputs_are_not_changed():
    table = np.random.default_rng(8).random((100, 3)) + 1e6
    init = table[:4].copy()
    kept = table.copy(), init.copy()
    table.flags.writeable = init.flags.writeable = False
    fit = KMeans(4, init=init).fit(table)
    fit.predict(table)
    fit.transform(table)
    fit.score(table)
    np.testing.assert_array_equal(table, kept[0])
    np.testing.assert_array_equal(init, kept[1])
    assert not np.shares_memory(fit.cluster_centers_, init)


def test_fewer_distinct_rows_than_clusters_warn():
    table = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0]])
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\) found smaller than"):
        fit = KMeans(3, random_state=0).fit(table)
    assert fit.inertia_ == 0.0
    assert fit.n_iter_ <= 2
