"""What a model says of rows: certified labels, distances by differences, through any blocks."""

import pickle

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, batches, centers_for, session_over, tables

from daskcluster import InputError, KMeans
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.outputs import Apply, Distance, Label


@given(tables(), st.data())
@CHECK
def test_labels_equal_the_oracle_through_any_blocks(table, data):
    centers = data.draw(centers_for(table))
    wanted = reference.nearest(table, centers)
    label = Label(centers)
    assert label(table).dtype == np.int32
    np.testing.assert_array_equal(label(table), wanted)
    np.testing.assert_array_equal(label(Batch(5, table)), wanted)
    again = pickle.loads(pickle.dumps(label))
    np.testing.assert_array_equal(again(table), wanted)
    with session_over(table, data.draw(st.integers(1, len(table)))) as session:
        parts = dict(session.reduce(Apply(label), "labels"))
    np.testing.assert_array_equal(np.concatenate([parts[i] for i in sorted(parts)]), wanted)


@given(tables(), tables(), st.data())
@CHECK
def test_rows_of_another_scale_and_type_are_labelled_exactly(table, other, data):
    d = min(table.shape[1], other.shape[1])
    table, other = (np.ascontiguousarray(t[:, :d]) for t in (table, other))
    centers = data.draw(centers_for(table))
    np.testing.assert_array_equal(Label(centers)(other), reference.nearest(other, centers))


@given(tables(dtypes=("uint8", "int32", "int64", "float32", "float64")), st.data())
@CHECK
def test_distances_are_right_to_their_last_places(table, data):
    if table.dtype == np.float64 and np.abs(table).max() < 1e-100:
        table = np.ldexp(table, 664)
    centers = data.draw(centers_for(table))
    got = Distance(centers)(table)
    assert got.shape == (len(table), len(centers))
    rows, points = reference.fractions(table), reference.fractions(centers)
    error = (table.shape[1] + 6) * reference.Fraction(2) ** -53
    for i, row in enumerate(rows):
        for j, point in enumerate(points):
            wanted = reference.distance(row, point)
            square = reference.Fraction(got[i, j]) ** 2
            # Squares below 1e-308 vanish.
            assert abs(square - wanted) <= 2 * error * wanted + reference.Fraction(1, 2**1000)


@pytest.mark.parametrize("function", [Label, Distance])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_rows_that_have_no_distance_are_named(function, bad):
    rows = np.ones((4, 2))
    rows[2, 1] = bad
    with pytest.raises(InputError, match="X: row 12, feature 1 is"):
        function(np.zeros((2, 2)))(Batch(10, rows))
    with pytest.raises(InputError, match="X: row 2, feature 1 is"):
        function(np.zeros((2, 2)))(rows)


@pytest.mark.parametrize("function", [Label, Distance])
def test_integers_that_float64_cannot_hold_are_named(function):
    rows = np.array([[0, 1], [2**53 + 1, 0]])
    with pytest.raises(InputError, match=f"X: row 1, feature 0 is {2**53 + 1}"):
        function(np.zeros((2, 2)))(rows)


def test_no_rows():
    empty = np.empty((0, 2))
    assert Label(np.zeros((3, 2)))(empty).shape == (0,)
    assert Distance(np.zeros((3, 2)))(empty).shape == (0, 3)


def test_merge_is_associative():
    label = Apply(Label(np.array([[0.0], [10.0]])))
    a, b, c = (label.step(part, None)[0] for part in batches(np.arange(12.0)[:, None], 4))
    left, right = label.merge(label.merge(a, b), c), label.merge(a, label.merge(b, c))
    for (i, x), (j, y) in zip(left, right, strict=True):
        assert i == j
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 50, 1025])
def test_a_model_labels_what_it_was_fitted_on_alike(dtype, n):
    table = np.random.default_rng(n).integers(0, 5 if n < 100 else 200, (n, 3)).astype(dtype)
    k = min(n, 4)
    model = KMeans(k, random_state=1).fit(table)
    labels = model.predict(table)
    np.testing.assert_array_equal(labels, model.labels_)
    np.testing.assert_array_equal(labels, reference.nearest(table, model.cluster_centers_))
    distances = model.transform(table)
    assert distances.shape == (n, k)
    assert distances.dtype == np.float64
    assert -model.score(table) == model.inertia_
    assert (distances.argmin(axis=1) == labels).mean() > 0.9
    halves = [model.predict(half) for half in np.array_split(table, 2) if len(half)]
    np.testing.assert_array_equal(np.concatenate(halves), labels)
