"""KMeans as an estimator: scikit-learn's checks and conventions, what it takes and gives."""

import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskcluster import InputError, KMeans, convert_npy
from daskcluster.kernels import exact
from daskcluster.store import zarr_array

# As for scikit-learn's KMeans: draws depend on the order of the rows, which the check changes.
OF_DRAWS = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "sample_weight is not equivalent to removing/repeating samples in another order",
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([KMeans()], expected_failed_checks=lambda _: OF_DRAWS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.uint8)


def _store(X, folder, **options):
    np.save(folder / "rows.npy", X)
    return convert_npy(folder / "rows.npy", folder / "rows.zarr", **options)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_equals_scikit_learn_from_the_same_start(digits, dtype):
    X = digits.astype(dtype)
    init = X[:10].astype(np.float64)
    ours = KMeans(10, init=init, tol=0).fit(X)
    theirs = SklearnKMeans(10, init=init, tol=0, n_init=1).fit(X.astype(np.float64))
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    # scikit-learn moves the rows by their mean and the centres back: an error of the data's scale.
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-13)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-12)


@pytest.mark.parametrize("tol", [1e-4, 1e-2])
def test_tol_means_what_it_means_in_scikit_learn(digits, tol):
    init = digits[:10].astype(np.float64)
    ours = KMeans(10, init=init, tol=tol).fit(digits)
    theirs = SklearnKMeans(10, init=init, tol=tol, n_init=1).fit(digits.astype(np.float64))
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


def test_uint8_centres_are_not_truncated(digits):
    centers = KMeans(10, random_state=0).fit(digits).cluster_centers_
    assert centers.dtype == np.float64
    assert (centers != np.rint(centers)).any()


def test_seeding_is_as_good_as_scikit_learns(digits):
    X = digits.astype(np.float64)
    ours = [KMeans(10, random_state=s).fit(digits).inertia_ for s in range(8)]
    theirs = [SklearnKMeans(10, random_state=s, n_init=1).fit(X).inertia_ for s in range(8)]
    # Eight seeds: the means of such runs differ by about one per cent among themselves.
    assert np.mean(ours) < 1.03 * np.mean(theirs)


def test_n_init_keeps_the_best_of_its_restarts(digits):
    # The first restarts of a longer run are those of a shorter one from the same seed.
    found = [
        KMeans(10, random_state=0, n_init=n, init="random").fit(digits).inertia_
        for n in (1, 2, 4, 8)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_a_callable_gives_the_start(digits):
    def first_rows(X, n_clusters, random_state):
        assert random_state.randint(10) >= 0
        return X[:n_clusters]

    a = KMeans(10, init=first_rows, n_init=1, random_state=0).fit(digits)
    b = KMeans(10, init=digits[:10], random_state=0).fit(digits)
    assert a.inertia_ == b.inertia_


def test_max_iter_ends_a_fit_whose_labels_belong_to_its_centres(digits):
    model = KMeans(10, init=digits[:10], max_iter=2, tol=0).fit(digits)
    assert (model.n_iter_, model.converged_, len(model.history_)) == (2, False, 2)
    np.testing.assert_array_equal(model.labels_, model.predict(digits))
    differences = digits - model.cluster_centers_[model.labels_]
    np.testing.assert_allclose(model.inertia_, (differences**2).sum(), rtol=1e-12)


def test_score_and_transform(digits):
    model = KMeans(5, random_state=0).fit(digits)
    theirs = SklearnKMeans(5, init=model.cluster_centers_, n_init=1, max_iter=1).fit(
        digits.astype(np.float64)
    )
    theirs.cluster_centers_ = model.cluster_centers_
    assert model.score(digits) == -model.inertia_
    np.testing.assert_allclose(
        model.transform(digits), theirs.transform(digits.astype(np.float64)), rtol=1e-7
    )
    np.testing.assert_array_equal(model.fit_predict(digits), model.labels_)
    assert model.get_feature_names_out().tolist() == [f"kmeans{i}" for i in range(5)]


def test_feature_names_are_kept():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [0.0, 1.0, 9.0], "b": [0.0, 1.0, 9.0]})
    assert KMeans(2).fit(frame).feature_names_in_.tolist() == ["a", "b"]


def test_duplicate_rows_warn_like_scikit_learn():
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\) found smaller"):
        model = KMeans(3, random_state=0).fit(np.ones((10, 2)))
    assert model.inertia_ == 0.0
    assert (model.cluster_centers_ == 1).all()


def test_clone_pickle_and_pipeline(digits):
    model = KMeans(4, random_state=0, memory_budget="1MB").fit(digits)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(digits), model.labels_)
    assert clone(model).get_params() == model.get_params()
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(digits)
    assert pipeline.predict(digits).shape == (len(digits),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_clusters": 0},
        {"n_clusters": 2.5},
        {"n_clusters": True},
        {"max_iter": 0},
        {"tol": -1},
        {"tol": float("nan")},
        {"tol": "small"},
        {"n_init": 0},
        {"init": "nonsense"},
        {"init": [["a"]]},
        {"init": np.zeros((2, 3))},
        {"init": np.full((3, 2), np.nan)},
        {"algorithm": "magic"},
        {"random_state": -1},
        {"memory_budget": "much"},
        {"n_clusters": 11},
    ],
)
def test_wrong_options_are_refused(wrong):
    X = np.arange(20.0).reshape(10, 2)
    with pytest.raises(ValueError, match=r"should be|shape|NaN|size|init"):
        KMeans(**({"n_clusters": 3} | wrong)).fit(X)


def test_stores_and_what_comes_of_them_are_lazy(digits, tmp_path):
    expected = KMeans(6, random_state=2).fit(digits)
    store = _store(digits, tmp_path, rows_per_chunk=1)
    for X in (store, store.path, tmp_path / "rows.zarr"):
        model = KMeans(6, random_state=2).fit(X)
        assert isinstance(model.labels_, da.Array)
        assert len(model.labels_.__dask_graph__()) <= 3 * len(model.labels_.chunks[0])
        np.testing.assert_array_equal(model.labels_.compute(), expected.labels_)
        np.testing.assert_array_equal(model.predict(X).compute(), expected.labels_)
        assert model.transform(X).compute().tobytes() == expected.transform(digits).tobytes()
        assert model.score(X) == expected.score(digits)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.labels_.compute(), expected.labels_)


@pytest.mark.parametrize("chunks", [(100, 64), (5000, 64), (100, 30), (1, 64)])
def test_zarr_arrays_of_any_chunks(digits, tmp_path, chunks, caplog):
    expected = KMeans(6, random_state=2).fit(digits)
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=digits, chunks=chunks)
    before = sorted(p.name for p in tmp_path.iterdir())
    for X in (array, tmp_path / "a.zarr"):
        model = KMeans(6, random_state=2).fit(X)
        assert model.inertia_ == expected.inertia_
        assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert ("written once to" in caplog.text) == (chunks[1] < 64)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.fixture
def shards(digits, tmp_path):
    path = tmp_path / "shards.zarr"
    zarr.create_array(str(path), data=digits, chunks=(50, 64), shards=(400, 64))
    return path


def test_shards_are_decoded_by_zarrs_on_workers_too(digits, shards, client):
    zarrs = pytest.importorskip("zarrs")
    pipeline = zarr_array(shards).async_array.codec_pipeline
    assert isinstance(pipeline, zarrs.ZarrsCodecPipeline)
    expected = KMeans(6, random_state=2).fit(digits)
    model = KMeans(6, random_state=2).fit(shards)
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    np.testing.assert_array_equal(model.labels_.compute(), expected.labels_)


def test_what_zarrs_does_not_know_is_left_to_zarr(digits, shards, monkeypatch):
    zarrs = pytest.importorskip("zarrs")

    def unknown(*arguments, **options):
        raise TypeError("unknown codec")

    monkeypatch.setattr(zarrs.pipeline, "CodecPipelineImpl", unknown)
    array = zarr_array(shards)
    assert not isinstance(array.async_array.codec_pipeline, zarrs.ZarrsCodecPipeline)
    np.testing.assert_array_equal(array[:], digits)


def test_zarr_arrays_of_more_dimensions(digits, tmp_path):
    expected = KMeans(6, random_state=2).fit(digits)
    images = digits.reshape(-1, 8, 8)
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=images, chunks=(500, 8, 4))
    model = KMeans(6, random_state=2).fit(array)
    assert model.inertia_ == expected.inertia_
    np.testing.assert_array_equal(model.predict(array).compute(), expected.labels_)


@pytest.mark.parametrize("chunks", [(300, 64), (300, 20), -1])
def test_dask_arrays(digits, chunks, caplog):
    expected = KMeans(6, random_state=2).fit(digits)
    X = da.from_array(digits, chunks=chunks)
    model = KMeans(6, random_state=2).fit(X)
    assert "written once to" in caplog.text
    assert model.inertia_ == expected.inertia_
    assert isinstance(model.labels_, da.Array)
    np.testing.assert_array_equal(model.labels_.compute(), expected.labels_)
    np.testing.assert_array_equal(model.predict(X[X[:, 0] >= 0]).compute(), expected.labels_)
    np.testing.assert_allclose(model.transform(X).compute(), expected.transform(digits))


def test_other_numbers_of_features_are_refused(digits, tmp_path):
    model = KMeans(3, random_state=0).fit(digits[:, :10])
    for X in (digits, _store(digits, tmp_path), da.from_array(digits)):
        with pytest.raises(ValueError, match="64 features"):
            model.predict(X)
    with pytest.raises(InputError, match="does not match the number of features"):
        KMeans(3, init=digits[:3, :5]).fit(digits)


def test_values_that_are_not_finite_are_refused(tmp_path):
    X = np.ones((50, 3))
    X[33, 1] = np.inf
    for bad in (
        zarr.create_array(str(tmp_path / "a.zarr"), data=X, chunks=(10, 3)),
        da.from_array(X),
    ):
        with pytest.raises(InputError, match="row 33, feature 1 is inf"):
            KMeans(2).fit(bad)


def test_history_ends_where_the_fit_does(digits):
    model = KMeans(8, random_state=0, tol=0).fit(digits)
    inertias = [entry["inertia"] for entry in model.history_]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] == model.inertia_
    assert model.history_[-1]["shift"] == 0.0
    assert model.history_[0]["changed"] == len(digits)
    assert [entry["iteration"] for entry in model.history_] == list(range(1, model.n_iter_ + 1))


def test_a_worker_too_small_is_refused_before_any_work(digits, monkeypatch):
    monkeypatch.setattr("daskcluster.engine.threads.MEMORY_LIMIT", 50_000_000)
    with pytest.raises(ValueError, match="use fewer threads"):
        KMeans(3).fit(digits)


def test_a_store_written_again_since_it_was_opened_is_named(digits, tmp_path):
    store = _store(digits, tmp_path)
    convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr", overwrite=True)
    with pytest.raises(InputError, match="written again since it was opened"):
        KMeans(3).fit(store)


def test_one_row_far_away_sends_few_distances_through_integers(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    X[17] = 1e5
    calls = []
    monkeypatch.setattr(
        "daskcluster.kernels.exact.squared_distance",
        lambda *a, real=exact.squared_distance: calls.append(1) or real(*a),
    )
    KMeans(4, random_state=0, max_iter=1).fit(X)
    assert len(calls) < 1000


def test_few_values_by_the_thousand_refill_empty_clusters():
    X = np.repeat(np.array([[0], [1], [9]], dtype=np.uint8), 20_000, axis=0)
    model = KMeans(3, init=[[0.0], [100.0], [200.0]], tol=0).fit(X)
    assert model.inertia_ == 0.0
    assert sorted(model.cluster_centers_[:, 0].tolist()) == [0.0, 1.0, 9.0]
