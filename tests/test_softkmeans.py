"""`SoftKMeans`: scikit-learn's checks, loops over float64, what it takes, gives and refuses."""

import math

import dask.array as da
import numpy as np
import pytest
import reference
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskcluster import (
    InputError,
    KMeans,
    SoftKMeans,
    convert_npy,
    evaluate,
    fit_model,
    load_model,
    open_responsibilities,
    predict_labels,
    predict_responsibilities,
)
from daskcluster.fit import soft
from daskcluster.metrics import adjusted_rand
from daskcluster.metrics.soft import soft_adjusted_rand, soft_scores
from daskcluster.store import zarr_array

STIFF = {"euclidean": 0.5, "sqeuclidean": 0.02}


def expected_failures(estimator):
    """scikit-learn takes whatever has `predict_proba` and accepts sparse rows for a classifier."""
    reason = "the check asks for the tags of a classifier, which a clusterer has not"
    failures = {f"check_estimator_sparse_{kind}": reason for kind in ("array", "matrix")}
    order = "draws depend on the order of the rows, which the check changes"
    return failures | {
        f"check_sample_weight_equivalence_on_{kind}_data": order for kind in ("dense", "sparse")
    }


# Rows of one blob have one place.
@pytest.mark.filterwarnings("ignore:All .* centres have run together")
@parametrize_with_checks([SoftKMeans()], expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    np.save(folder / "rows.npy", digits[0].astype(np.uint8))
    np.save(folder / "classes.npy", digits[1])
    return convert_npy(
        folder / "rows.npy", folder / "s.zarr", labels=folder / "classes.npy", rows_per_chunk=1
    )


@pytest.mark.parametrize("metric", STIFF)
@pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])
def test_digits_against_loops(digits, metric, precision, rtol):
    X, init = digits[0], digits[0][:10]
    model = SoftKMeans(
        10, beta=STIFF[metric], metric=metric, init=init, max_iter=6, tol=1e-5, precision=precision
    ).fit(X)
    wanted = reference.soft_kmeans(X, init, STIFF[metric], metric, 6, 1e-5)
    error = np.linalg.norm(model.cluster_centers_ - wanted.centers)
    assert error <= rtol * np.linalg.norm(wanted.centers)
    np.testing.assert_allclose(model.objective_, wanted.objective, rtol=rtol)
    np.testing.assert_allclose(
        [entry["objective"] for entry in model.history_], wanted.history, rtol=rtol
    )
    assert model.n_iter_ == wanted.n_iter
    shares = [
        reference.responsibilities(row, wanted.centers.tolist(), STIFF[metric], metric)[0]
        for row in X[:50].tolist()
    ]
    np.testing.assert_allclose(model.predict_proba(X[:50]), shares, atol=100 * rtol)


def test_the_precision_is_chosen_by_what_a_step_loses(digits):
    # So stiff that the rounding of float32 decides between near centres.
    init = digits[0][:10]
    options = {"init": init, "metric": "sqeuclidean", "max_iter": 2}
    assert SoftKMeans(10, beta=1e-3, **options).fit(digits[0]).precision_ == "float32"
    far = digits[0] + 1e5 * np.arange(64)
    stiff = SoftKMeans(10, beta=10.0, **(options | {"init": far[:10]})).fit(far)
    assert stiff.precision_ == "float64"
    for precision in ("float32", "float64"):
        asked = SoftKMeans(10, beta=1e-3, precision=precision, **options).fit(digits[0])
        assert asked.precision_ == precision
        assert asked.predict_proba(digits[0][:3]).dtype == precision


@pytest.mark.parametrize(
    ("form", "precision"),
    [(np.asarray, "float32"), (np.asarray, "float64"), (csr_array, "float64")],
)
def test_a_start_in_other_units_than_the_rows(form, precision):
    """Some of its centres are farther than the rows' own frame can say."""
    rows, start = np.zeros((5, 3)), np.zeros((2, 3))
    rows[-1, 0], start[1, 0] = -5e-324, 1.0
    hard = KMeans(2, init=start, max_iter=3).fit(form(rows))
    np.testing.assert_array_equal(hard.labels_, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(hard.cluster_centers_, rows[-2:])
    model = SoftKMeans(2, beta=1e300, init=start, precision=precision).fit(form(rows))
    np.testing.assert_array_equal(model.cluster_centers_[1], start[1])
    assert np.abs(model.cluster_centers_[0]).max() < 1e-300


def test_infinite_beta_is_hard_k_means(digits):
    X = digits[0].astype(np.uint8)
    init = X[:10].astype(np.float64)
    hard = KMeans(10, init=init, tol=0).fit(X)
    for metric in STIFF:
        limit = SoftKMeans(10, beta=math.inf, metric=metric, init=init, tol=0).fit(X)
        np.testing.assert_array_equal(limit.labels_, hard.labels_)
        np.testing.assert_allclose(limit.cluster_centers_, hard.cluster_centers_, rtol=1e-14)
        assert limit.converged_
        np.testing.assert_array_equal(limit.cluster_weights_, hard.cluster_sizes_)
    assert limit.objective_ == pytest.approx(hard.inertia_, rel=1e-12)


def test_what_is_said_of_the_rows_belongs_together(digits):
    X = digits[0]
    model = SoftKMeans(6, beta=0.3, random_state=0, max_iter=5, precision="float64").fit(X)
    assert not model.converged_
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.cluster_sizes_, np.bincount(model.labels_, minlength=6))
    shares = model.predict_proba(X)
    np.testing.assert_allclose(model.cluster_weights_, shares.sum(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(shares.argmax(axis=1), model.labels_)
    own = np.square(X - model.cluster_centers_[model.labels_]).sum()
    assert model.inertia_ == pytest.approx(own, rel=1e-12)
    assert model.score(X) == pytest.approx(-model.objective_, rel=1e-12)
    assert model.transform(X).shape == (1797, 6)


def test_the_notebooks_rule_stops_by_the_frobenius_shift(digits):
    X, tol = digits[0], 0.05
    model = SoftKMeans(5, beta=0.3, random_state=0, tol=tol).fit(X)
    shifts = [entry["shift"] for entry in model.history_]
    assert model.converged_
    assert shifts[-1] < tol <= min(shifts[:-1])


@pytest.mark.parametrize("metric", STIFF)
def test_a_beta_too_small_is_warned_of(digits, metric, recwarn):
    def fit(beta, X=digits[0]):
        kind = SoftKMeans(4, beta=beta, metric=metric, random_state=0, max_iter=30)
        return kind.fit(X).cluster_centers_

    fit(STIFF[metric])
    fit(STIFF[metric], np.ones((9, 3)))  # where no beta would help
    assert not recwarn.list
    with pytest.warns(ConvergenceWarning, match=r"beta=0\.0001 is too small.* of 1 over how much"):
        fit(1e-4)


def test_restarts_keep_the_least_objective(digits):
    found = [
        SoftKMeans(10, beta=0.3, random_state=0, n_init=n, init="random", max_iter=20)
        .fit(digits[0]).objective_
        for n in (1, 2, 4, 8)
    ]  # fmt: skip
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_output_follows_input(digits, store):
    X = digits[0].astype(np.uint8)
    model = SoftKMeans(10, beta=0.3, random_state=0).fit(store)
    assert isinstance(model.labels_, da.Array)
    lazy = model.predict_proba(store)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == (1797, 10)
    at_once = model.predict_proba(X)
    assert isinstance(at_once, np.ndarray)
    np.testing.assert_array_equal(lazy.compute(), at_once)
    dask_rows = da.from_array(X, chunks=(500, 64))
    np.testing.assert_allclose(model.predict_proba(dask_rows).compute(), at_once, atol=1e-5)


def test_responsibilities_are_written_by_the_workers(digits, store, client, tmp_path):
    model = SoftKMeans(10, beta=0.3, random_state=0).fit(store)
    facts = predict_responsibilities(model, store, tmp_path / "shares")
    found = open_responsibilities(tmp_path / "shares")
    shares = found.compute()
    np.testing.assert_array_equal(shares, model.predict_proba(store).compute())
    np.testing.assert_array_equal(zarr_array(facts["array"])[:], shares)
    np.testing.assert_allclose(facts["cluster_weights"], model.cluster_weights_, rtol=1e-5)
    again = predict_responsibilities(model, store, tmp_path / "shares", resume=True)
    assert again["passes"] == 0
    sizes = predict_labels(model, store, tmp_path / "labels")["cluster_sizes"]
    assert sizes == model.cluster_sizes_.tolist()
    with pytest.raises(InputError, match="hard model"):
        predict_responsibilities(KMeans(2).fit(store), store, tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no responsibilities: .*--proba"):
        open_responsibilities(tmp_path / "labels")


def test_evaluate_picks_the_soft_scores(digits, store):
    model = SoftKMeans(10, beta=0.3, random_state=0, precision="float64").fit(store)
    found = evaluate(model, store)
    shares = model.predict_proba(digits[0].astype(np.uint8))
    table = shares.T @ np.eye(10)[digits[1]]
    np.testing.assert_allclose(found["soft_contingency"], table, rtol=1e-10)
    sizes = table.sum(axis=1, keepdims=True)
    gini = (sizes[:, 0] * (1 - ((table / sizes) ** 2).sum(axis=1))).sum() / 1797
    assert found["gini"] == pytest.approx(gini, rel=1e-10)
    assert found["purity"] == np.max(found["contingency"], axis=1).sum() / 1797
    assert found["objective"] == pytest.approx(model.objective_, rel=1e-12)
    assert found["inertia"] == model.inertia_
    unit = shares / np.linalg.norm(shares, axis=1, keepdims=True)
    assert found["ari"] == pytest.approx(_bonded_rand(unit, digits[1]), rel=1e-9)


def _bonded_rand(unit, classes):
    """Brouwer's adjusted Rand index from the matrices of bonds themselves."""
    bonds = unit @ unit.T
    same = (classes[:, np.newaxis] == classes).astype(np.float64)
    pair = np.triu_indices(len(classes), 1)
    p, q = bonds[pair], same[pair]
    a, b, c, d = (p * q).sum(), (p * (1 - q)).sum(), ((1 - p) * q).sum(), ((1 - p) * (1 - q)).sum()
    chance = (a + b) * (a + c) / (a + b + c + d)
    return (a - chance) / ((2 * a + b + c) / 2 - chance)


def test_soft_scores_of_hard_clusters_are_the_hard_ones(rng):
    from daskcluster.metrics import score_table  # noqa: PLC0415 - only here

    table = rng.integers(0, 20, (5, 4))
    hard = score_table(table).as_dict()
    soft_ones = soft_scores(table.astype(np.float64))
    for name, value in soft_ones.items():
        assert value == pytest.approx(hard[name], rel=1e-12)
    ari = soft_adjusted_rand(table.astype(np.float64), table.sum(axis=0))
    assert ari == pytest.approx(adjusted_rand(table), rel=1e-12)
    assert soft_adjusted_rand(np.array([[5.0]]), np.array([5])) == 1.0


def test_models_are_read_back_as_they_were(digits, tmp_path):
    for beta in (0.3, math.inf):
        model = SoftKMeans(4, beta=beta, random_state=0, max_iter=5).fit(digits[0])
        model.save(tmp_path / str(beta))
        again = load_model(tmp_path / str(beta))
        assert isinstance(again, SoftKMeans)
        assert again.beta == beta
        names = ("objective_", "inertia_", "precision_", "n_iter_", "history_", "seed_")
        assert all(getattr(again, name) == getattr(model, name) for name in names)
        np.testing.assert_array_equal(again.cluster_weights_, model.cluster_weights_)
        np.testing.assert_array_equal(
            again.predict_proba(digits[0]), model.predict_proba(digits[0])
        )


def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(digits, tmp_path, monkeypatch):
    estimator = SoftKMeans(6, beta=0.3, random_state=0, max_iter=30, n_init=2, tol=0)
    calm = clone(estimator).fit(digits[0])
    soften_job, left = soft.Soften.step, [25]

    def fail(self, batch, state):
        left[0] -= 1
        if left[0] == 0:
            raise OSError("the disk is gone")
        return soften_job(self, batch, state)

    monkeypatch.setattr(soft.Soften, "step", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        fit_model(clone(estimator), digits[0], tmp_path / "model")
    monkeypatch.undo()
    again = fit_model(clone(estimator), digits[0], tmp_path / "model", resume=True)
    assert again.cluster_centers_.tobytes() == calm.cluster_centers_.tobytes()
    assert again.history_ == calm.history_
    assert (again.objective_, again.precision_) == (calm.objective_, calm.precision_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "beta=0 should be a number > 0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"beta": math.nan}, "beta=nan"),
        ({"beta": "1"}, "beta='1'"),
        ({"beta": True}, "beta=True"),
        ({"metric": "manhattan"}, "metric='manhattan' should be one of"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"init": "best"}, "init='best' should be one of"),
        ({"init": np.ones((3, 64))}, "does not match the number of clusters"),
        ({"tol": -1}, "tol=-1"),
        ({"tol": math.inf}, "tol=inf"),
        ({"n_clusters": 2000}, "n_samples=1797 should be >= n_clusters=2000"),
    ],
)
def test_bad_options(digits, options, message):
    with pytest.raises(InputError, match=message):
        SoftKMeans(**options).fit(digits[0])
