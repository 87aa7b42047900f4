"""MiniBatchKMeans: the plain loop's centres, whatever the chunks; good enough to go on from."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans as SklearnMiniBatchKMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks
from strategies import FEW
from test_estimator import OF_DRAWS

from daskcluster import (
    InputError,
    KMeans,
    MiniBatchKMeans,
    convert_npy,
    evaluate,
    fit_model,
    load_model,
)
from daskcluster.fit.minibatch import spread_rows


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([MiniBatchKMeans()], expected_failed_checks=lambda _: OF_DRAWS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.uint8)


def _store(rows, folder, **options):
    np.save(folder / "rows.npy", rows)
    return convert_npy(folder / "rows.npy", folder / "rows.zarr", **options)


def plain(rows, centers, size, weights=None, passes=1):
    """Sculley's loop, a batch at a time."""
    centers, counts, inertia = centers.astype(np.float64).copy(), np.zeros(len(centers)), 0.0
    weights = np.ones(len(rows)) if weights is None else weights
    for _ in range(passes):
        inertia = 0.0
        for start in range(0, len(rows), size):
            x, w = rows[start : start + size].astype(np.float64), weights[start : start + size]
            squares = ((x[:, None] - centers) ** 2).sum(axis=2)
            labels = squares.argmin(axis=1)
            inertia += float(w @ squares.min(axis=1))
            before = centers.copy()
            for k in range(len(centers)):
                own = labels == k
                if w[own].sum() > 0:
                    total = counts[k] + w[own].sum()
                    centers[k] = (counts[k] * before[k] + w[own] @ x[own]) / total
                    counts[k] = total
    return centers, counts, inertia


@pytest.mark.parametrize("size", [50, 300, 5000])
@pytest.mark.parametrize("passes", [1, 3])
def test_equals_the_plain_loop(digits, size, passes):
    init = digits[:10].astype(np.float64)
    model = MiniBatchKMeans(10, init=init, batch_size=size, max_iter=passes).fit(digits)
    centers, counts, inertia = plain(digits, init, size, passes=passes)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(model.counts_, counts)
    assert model.inertia_ == pytest.approx(inertia, rel=1e-10)
    assert model.n_steps_ == passes * -(-len(digits) // size)
    np.testing.assert_array_equal(model.labels_, model.predict(digits))


@given(st.data())
@FEW
def test_any_blocks_and_weights(data):
    n = data.draw(st.integers(5, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, weights = rng.normal(size=(n, 3)), rng.integers(0, 4, n).astype(float)
    weights[0] = 1
    size = data.draw(st.integers(1, n))
    init = rows[:3]
    lazy = da.from_array(rows, chunks=(data.draw(st.integers(1, n)), 3))
    wanted, counts, _ = plain(rows, init, size, weights)
    for X in (rows, lazy):
        model = MiniBatchKMeans(3, init=init, batch_size=size).fit(X, sample_weight=weights)
        np.testing.assert_allclose(model.cluster_centers_, wanted, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(model.counts_, counts)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_no_bit_depends_on_chunks_and_workers(digits, tmp_path, client, init):
    expected = MiniBatchKMeans(10, init=init, random_state=0, batch_size=300).fit(digits)
    for i, size in enumerate((1, 10_000)):
        (tmp_path / str(i)).mkdir()
        store = _store(digits, tmp_path / str(i), rows_per_chunk=size)
        model = MiniBatchKMeans(10, init=init, random_state=0, batch_size=300).fit(store)
        assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
        assert model.inertia_ == expected.inertia_
        np.testing.assert_array_equal(model.labels_.compute(), expected.labels_)
        assert model.passes_ == 1


def test_partial_fit_is_fit_in_parts(digits):
    init = digits[:10].astype(np.float64)
    whole = MiniBatchKMeans(10, init=init, batch_size=300).fit(digits)
    parts = MiniBatchKMeans(10, init=init)
    for start in range(0, len(digits), 300):
        parts.partial_fit(digits[start : start + 300])
    assert parts.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
    assert parts.n_steps_ == whole.n_steps_
    np.testing.assert_array_equal(parts.labels_, parts.predict(digits[1500:]))


def test_partial_fit_of_stores_and_lazy_arrays(digits, tmp_path):
    store = _store(digits, tmp_path)
    whole = MiniBatchKMeans(10, random_state=0, batch_size=300).fit(store)
    model = MiniBatchKMeans(10, random_state=0, batch_size=300).partial_fit(store)
    assert model.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
    model.partial_fit(da.from_array(digits, chunks=(500, 64)))
    assert model.n_steps_ == 12
    with pytest.raises(InputError, match="expecting 64 features"):
        model.partial_fit(da.ones((100, 3), chunks=(50, 3)))


def test_sparse_rows(rng):
    matrix = sparse.random_array((700, 50), density=0.1, rng=rng, format="csr")
    init = matrix[:4].toarray()
    weights = rng.integers(1, 3, 700)
    found = MiniBatchKMeans(4, init=init, batch_size=64).fit(matrix, sample_weight=weights)
    wanted = MiniBatchKMeans(4, init=init, batch_size=64).fit(
        matrix.toarray(), sample_weight=weights
    )
    np.testing.assert_allclose(found.cluster_centers_, wanted.cluster_centers_, atol=1e-12)
    assert found.inertia_ == pytest.approx(wanted.inertia_)
    assert MiniBatchKMeans(4, random_state=0).fit(matrix).counts_.sum() == 700


def test_is_as_good_as_scikit_learns():
    table, _ = make_blobs(20_000, 8, centers=12, cluster_std=3.0, random_state=0)
    ours = [-MiniBatchKMeans(12, random_state=s).fit(table).score(table) for s in range(6)]
    theirs = [
        -SklearnMiniBatchKMeans(12, random_state=s, n_init=1, max_iter=1).fit(table).score(table)
        for s in range(6)
    ]
    assert np.mean(ours) <= 1.02 * np.mean(theirs)


def test_from_it_into_exact_lloyd(digits, tmp_path):
    np.save(tmp_path / "classes.npy", load_digits().target)
    store = _store(digits, tmp_path, labels=tmp_path / "classes.npy")
    rough = fit_model(MiniBatchKMeans(10, random_state=0), store, tmp_path / "rough")
    again = load_model(tmp_path / "rough")
    np.testing.assert_array_equal(again.counts_, rough.counts_)
    resumed = fit_model(MiniBatchKMeans(10, random_state=0), store, tmp_path / "rough", resume=True)
    assert resumed.cluster_centers_.tobytes() == rough.cluster_centers_.tobytes()
    exact = KMeans(10, init=again.cluster_centers_).fit(store)
    assert exact.inertia_ < -rough.score(store)
    scores = evaluate(rough, store)
    assert scores["inertia"] == -rough.score(store)
    warm = KMeans(10, random_state=0, warm_start=True, max_iter=3)
    first = warm.fit(store).inertia_
    second = warm.fit(store)
    assert second.init_ == "array"
    assert second.inertia_ < first


def test_standardized_columns(digits):
    model = MiniBatchKMeans(5, random_state=0, standardize=True).fit(digits)
    scaled = (digits - model.mean_) / model.scale_
    plain_model = MiniBatchKMeans(5, random_state=0).fit(scaled)
    np.testing.assert_allclose(model.cluster_centers_, plain_model.cluster_centers_)
    with pytest.raises(InputError, match="before partial_fit"):
        MiniBatchKMeans(5, standardize=True).partial_fit(digits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 should be an integer >= 1"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"init": "refined"}, "init='refined' should be one of"),
        ({"init": np.zeros((2, 3))}, "does not match the number of clusters 5"),
        ({"n_clusters": 10**6}, "ask for fewer"),
    ],
)
def test_bad_options(digits, options, message):
    with pytest.raises(InputError, match=message):
        MiniBatchKMeans(**({"n_clusters": 5} | options)).fit(digits)


def test_a_callable_init(digits):
    model = MiniBatchKMeans(3, init=lambda X, k, random_state: X[:k], random_state=0).fit(digits)
    assert model.init_ == "callable"


@given(st.integers(1, 5000), st.integers(1, 5000))
@FEW
def test_rows_spread_over_all(n_rows, wanted):
    found = spread_rows(n_rows, wanted)
    assert (np.diff(found) > 0).all()
    assert found[0] == 0
    assert found[-1] == n_rows - 1
    assert len(found) >= min(n_rows, wanted // 2)
