"""Sparse rows give what dense rows give: the same bits of hard fits, soft ones to rounding."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from strategies import CHECK, FEW, centers_for, session_over, tables

from daskcluster import InputError, KMeans, SoftKMeans
from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.farthest import Farthest
from daskcluster.kernels.frame import Frame, frame_of, unmoved
from daskcluster.kernels.hard_sums import moved
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import sum_grid
from daskcluster.survey import survey


def as_sparse(table):
    return SparseRows.of(sparse.csr_array(table))


@pytest.fixture
def matrix(rng):
    """Rows of which some are empty, some are equal."""
    table = sparse.random_array((400, 60), density=0.08, rng=rng, format="csr")
    table = sparse.vstack([table, table[:20], sparse.csr_array((5, 60))], format="csr")
    table.sort_indices()
    return table


@given(st.data())
@CHECK
def test_rows_are_cut_and_picked_as_dense_ones(data):
    table = data.draw(tables(max_rows=12))
    rows = as_sparse(table)
    n = len(table)
    np.testing.assert_array_equal(np.asarray(rows), table)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    np.testing.assert_array_equal(np.asarray(rows[start:stop]), table[start:stop])
    pick = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=8)), dtype=np.intp)
    np.testing.assert_array_equal(np.asarray(rows[start:stop].copy()), table[start:stop])
    np.testing.assert_array_equal(np.asarray(rows[pick]), table[pick])
    np.testing.assert_array_equal(rows[n - 1], table[n - 1])
    assert (rows.max(), rows.min()) == (table.max(), table.min())
    assert rows.shape == table.shape
    assert len(rows) == n


@given(st.data())
@CHECK
def test_labels_are_those_of_dense_rows(data):
    table = data.draw(tables())
    centers = data.draw(centers_for(table))
    frame = unmoved(frame_of(centers))
    expected, _ = Nearest(centers, Frame(None, frame.exponent)).labels(table)
    found = Nearest(centers, frame).find(as_sparse(table))
    np.testing.assert_array_equal(found.labels, expected)
    wide, c = table.astype(np.float64), centers
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = np.square(np.ldexp(wide[:, np.newaxis] - c, -frame.exponent)).sum(axis=2)
        own = gaps[np.arange(len(table)), found.labels]
        gaps[np.arange(len(table)), found.labels] = np.inf
        finite = np.isfinite(own)
        slack = 1e-12 * (1 + own[finite])
        assert (found.radii[finite] >= np.sqrt(own[finite]) * (1 - 1e-9) - 1e-300).all()
        assert (found.gaps[finite] <= gaps.min(axis=1)[finite] - own[finite] + slack).all()


@given(st.data())
@CHECK
def test_sums_and_moments_are_those_of_dense_rows(data):
    table = data.draw(tables())
    k = 3
    labels, before = (
        np.array(
            data.draw(st.lists(st.integers(0, k - 1), min_size=len(table), max_size=len(table)))
        )
        for _ in range(2)
    )
    dtype = table.dtype.name
    with session_over(table) as session:
        dense = survey(session, "X", len(table), dtype)
    with session_over(as_sparse(table)) as session:
        found = survey(session, "X", len(table), dtype)
    np.testing.assert_array_equal(found.sums, dense.sums)
    np.testing.assert_array_equal(found.squares, dense.squares)
    grid = sum_grid(len(table), dtype, dense.exponent)
    for start in (None, before.astype(np.int32)):
        a = moved(table, start, labels.astype(np.int32), k, grid)
        b = moved(as_sparse(table), start, labels.astype(np.int32), k, grid)
        np.testing.assert_array_equal(b.sums, exact.carry(a.sums.copy()))
        np.testing.assert_array_equal(b.counts, a.counts)


@given(st.data())
@FEW
def test_the_farthest_are_those_of_dense_rows(data):
    table = data.draw(tables())
    centers = data.draw(centers_for(table))
    frame = unmoved(frame_of(centers))
    dense, _ = Farthest(centers, frame, 3).step(Batch(0, table), None)
    found, _ = Farthest(centers, frame, 3).step(Batch(0, as_sparse(table)), None)
    assert [(f.distance, f.index) for f in dense] == [
        (f.distance, f.index) for f in found if f.distance > 0
    ]


@pytest.mark.parametrize("init", ["k-means++", "random", "rows"])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_hard_fits_have_the_bits_of_dense_rows(matrix, init, algorithm):
    dense = matrix.toarray()
    options = {"n_init": 1, "tol": 0, "random_state": 3, "init": init}
    if init == "rows":
        options["init"] = dense[:6]
    found = KMeans(6, algorithm=algorithm, **options).fit(matrix)
    wanted = KMeans(6, **options).fit(dense)
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)
    np.testing.assert_array_equal(found.labels_, wanted.labels_)
    assert (found.inertia_, found.n_iter_) == (wanted.inertia_, wanted.n_iter_)
    assert found.score(matrix) == -found.inertia_
    np.testing.assert_array_equal(found.predict(matrix), found.labels_)
    np.testing.assert_allclose(found.transform(matrix), wanted.transform(dense), atol=1e-12)


def test_empty_clusters_are_refilled_as_with_dense_rows(matrix):
    dense = matrix.toarray()
    init = np.concatenate([dense[:2], np.full((3, 60), 50.0)])
    found = KMeans(5, init=init, tol=0).fit(matrix)
    wanted = KMeans(5, init=init, tol=0).fit(dense)
    assert found.history_[0]["empty"] == 3
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)


def test_equals_scikit_learn_on_sparse_rows(matrix):
    init = matrix[:6].toarray()
    ours = KMeans(6, init=init, tol=0).fit(matrix)
    theirs = SklearnKMeans(6, init=init, tol=0, n_init=1).fit(matrix)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("beta", [30.0, np.inf])
def test_soft_fits_are_those_of_dense_rows(matrix, metric, beta):
    dense = matrix.toarray()
    options = {"beta": beta, "metric": metric, "init": dense[:6], "max_iter": 10}
    found = SoftKMeans(6, **options).fit(matrix)
    wanted = SoftKMeans(6, precision="float64", **options).fit(dense)
    np.testing.assert_allclose(found.cluster_centers_, wanted.cluster_centers_, atol=1e-12)
    np.testing.assert_allclose(found.predict_proba(matrix), wanted.predict_proba(dense), atol=1e-9)
    assert found.objective_ == pytest.approx(wanted.objective_, rel=1e-12)
    assert found.precision_ == "float64"


def test_single_precision_is_not_for_sparse_rows(matrix):
    with pytest.raises(InputError, match="float64 alone"):
        SoftKMeans(3, precision="float32").fit(matrix)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_any_matrix_of_scipy_is_taken(matrix, kind):
    wanted = KMeans(4, random_state=0).fit(matrix)
    found = KMeans(4, random_state=0).fit(kind(matrix))
    np.testing.assert_array_equal(found.labels_, wanted.labels_)


@pytest.mark.parametrize(
    "estimator", [KMeans(4, random_state=0), SoftKMeans(4, beta=30.0, random_state=0)]
)
def test_dask_arrays_of_sparse_blocks(matrix, client, estimator):
    tall = sparse.vstack([matrix] * 12, format="csr")
    blocks = [
        da.from_delayed(
            dask.delayed(tall[i : i + 999]),
            (len(range(*slice(i, i + 999).indices(tall.shape[0]))), 60),
            meta=sparse.csr_array((0, 60)),
        )
        for i in range(0, tall.shape[0], 999)
    ]
    lazy = da.concatenate(blocks)
    found = clone(estimator).fit(lazy)
    wanted = clone(estimator).fit(tall)
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)
    np.testing.assert_array_equal(found.labels_.compute(), wanted.labels_)


def test_values_that_are_not_finite_are_refused(matrix):
    matrix.data[17] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2).fit(matrix)


def test_no_bit_depends_on_threads(matrix):
    tall = sparse.vstack([matrix] * 40, format="csr")
    rows = tall.shape[0]
    assert rows > 2 * 4096
    fits = [SoftKMeans(4, random_state=0, max_iter=5, beta=30.0).fit(tall)]

    with dask.config.set(num_workers=3):
        fits.append(SoftKMeans(4, random_state=0, max_iter=5, beta=30.0).fit(tall))
    first, second = fits
    assert first.cluster_centers_.tobytes() == second.cluster_centers_.tobytes()
    assert first.objective_ == second.objective_
