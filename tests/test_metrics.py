"""Scores against hand-worked values, exact fractions and scikit-learn."""

import dataclasses
import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from daskcluster.errors import InputError
from daskcluster.metrics import (
    Scores,
    adjusted_rand,
    completeness,
    contingency_matrix,
    contingency_table,
    fowlkes_mallows,
    gini,
    gini_index,
    homogeneity,
    merge_tables,
    normalized_mutual_info,
    purity,
    purity_score,
    score_table,
    v_measure,
)

ORACLES = {
    "ari": oracle.adjusted_rand_score,
    "nmi": oracle.normalized_mutual_info_score,
    "homogeneity": oracle.homogeneity_score,
    "completeness": oracle.completeness_score,
    "v_measure": oracle.v_measure_score,
    "fowlkes_mallows": oracle.fowlkes_mallows_score,
}
SCORES = [
    purity,
    gini,
    adjusted_rand,
    normalized_mutual_info,
    homogeneity,
    completeness,
    v_measure,
    fowlkes_mallows,
]
SYMMETRIC = [adjusted_rand, normalized_mutual_info, v_measure, fowlkes_mallows]

# The example of Manning, Raghavan and Schuetze, figure 16.4: 17 points in three clusters.
BOOK = np.array([[5, 1, 0], [1, 4, 1], [2, 0, 3]])

pairs_of_labels = st.integers(1, 6).flatmap(
    lambda top: st.lists(
        st.tuples(st.integers(0, top - 1), st.integers(0, 7 - top)), min_size=1, max_size=80
    )
)
tables = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.integers(0, 40), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    ).map(lambda cells: np.array(cells, dtype=np.int64).reshape(shape))
)
filled_tables = tables.filter(np.any)


def labels_of(table):
    """Rows that have this table: their clusters and their classes."""
    k, c = np.indices(table.shape)
    return np.repeat(k.ravel(), table.ravel()), np.repeat(c.ravel(), table.ravel())


def assert_equals_oracle(table):
    clusters, classes = labels_of(table)
    scores = score_table(table).as_dict()
    for name, reference in ORACLES.items():
        assert scores[name] == pytest.approx(reference(classes, clusters), rel=0, abs=1e-12), name


def exact_purity(table):
    rows = [[int(cell) for cell in row] for row in table]
    return Fraction(sum(max(row) for row in rows), sum(map(sum, rows)))


def exact_gini(table):
    rows = [[int(cell) for cell in row] for row in table]
    impure = [
        sum(row) * (1 - sum(Fraction(cell, sum(row)) ** 2 for cell in row))
        for row in rows
        if any(row)
    ]
    return sum(impure) / Fraction(sum(map(sum, rows)))


def pairs_together(table):
    """Exact numbers of pairs: in one cell, cluster, class, and of all rows."""
    groups = [table.ravel(), table.astype(object).sum(axis=1), table.astype(object).sum(axis=0)]
    groups.append([sum(map(int, table.ravel()))])
    return [sum(Fraction(int(n) * (int(n) - 1), 2) for n in sizes) for sizes in groups]


def exact_rand(table):
    together, in_cluster, in_class, every = pairs_together(table)
    expected = in_cluster * in_class / every
    return (together - expected) / ((in_cluster + in_class) / 2 - expected)


def exact_fowlkes_mallows_squared(table):
    together, in_cluster, in_class, _ = pairs_together(table)
    return together**2 / (in_cluster * in_class)


# --- the table -----------------------------------------------------------------------------


def test_table_counts_by_cluster_and_class():
    table = contingency_table([0, 0, 1, 2, 2, 2], [1, 1, 0, 0, 1, 1], 4, 2)
    assert table.dtype == np.int64
    assert table.tolist() == [[0, 2], [1, 0], [1, 2], [0, 0]]


def test_unknown_classes_are_left_out():
    assert contingency_table([0, 1, 1], [-1, 0, -1], 2, 1).tolist() == [[0], [1]]
    assert contingency_table([0, 1], [-1, -1], 2, 0).shape == (2, 0)


def test_table_of_no_rows_is_zero():
    table = contingency_table([], [], 2, 3)
    assert table.dtype == np.int64
    assert table.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", "u8"])
def test_table_does_not_wrap_in_narrow_dtypes(dtype):
    labels, classes = np.array([99, 120], dtype=dtype), np.array([1, 126], dtype=dtype)
    table = contingency_table(labels, classes, 121, 127)
    assert table[99, 1] == table[120, 126] == 1
    assert table.sum() == 2


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        ([0, 2], [0, 0], "labels run from 0 to 2"),
        ([-1, 0], [0, 0], "labels run from -1"),
        ([0, 0], [0, 3], "classes run from 0 to 3"),
        ([0, 0], [0, -2], "classes run from -2"),
        ([0, 5], [0, -1], "labels run from 0 to 5"),
        ([0, 0], np.array([0, 2**64 - 1], dtype=np.uint64), "18446744073709551615"),
        ([0, 0], [0], "2 labels but 1 classes"),
        ([0.0, 1.0], [0, 0], "float64"),
        ([True, False], [0, 0], "bool"),
        ([[0, 0]], [0, 0], "2 dimensions"),
    ],
)
def test_table_refuses_what_it_cannot_count(labels, classes, said):
    with pytest.raises(InputError, match=said):
        contingency_table(labels, classes, 2, 3)


def test_table_refuses_a_negative_range():
    with pytest.raises(InputError, match=">= 0"):
        contingency_table([], [], -1, 2)


def test_matrix_finds_its_ranges():
    assert contingency_matrix([1, 0, -1], [0, 2, 2]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert contingency_matrix([0], [0], n_classes=2, n_clusters=3).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
    ]
    assert contingency_matrix([], []).shape == (0, 0)
    assert contingency_matrix([-1, -1], [0, 1]).shape == (0, 2)
    with pytest.raises(InputError, match="labels run"):
        contingency_matrix([0, 0], [0, 2], n_clusters=2)


@given(tables)
def test_matrix_is_scikit_learns(table):
    clusters, classes = labels_of(table)
    ours = contingency_matrix(
        classes, clusters, n_clusters=table.shape[0], n_classes=table.shape[1]
    )
    np.testing.assert_array_equal(ours, table.T)
    if table.any():
        theirs = oracle.cluster.contingency_matrix(classes, clusters)
        np.testing.assert_array_equal(ours[ours.any(axis=1)][:, ours.any(axis=0)], theirs)


@given(pairs_of_labels, st.data())
def test_tables_of_any_cutting_merge_to_the_whole(pairs, data):
    labels, classes = np.array(pairs).T
    classes = classes - 1
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pairs)), max_size=6)))
    blocks = zip(np.split(labels, cuts), np.split(classes, cuts), strict=True)
    parts = [contingency_table(k, c, 6, 6) for k, c in blocks]
    parts = data.draw(st.permutations(parts))
    whole = contingency_table(labels, classes, 6, 6)
    np.testing.assert_array_equal(merge_tables(*parts), whole)
    np.testing.assert_array_equal(reduce(merge_tables, parts, np.zeros_like(whole)), whole)
    np.testing.assert_array_equal(sum(parts), whole)


def test_merge_changes_no_part_and_refuses_other_shapes():
    one = np.ones((1, 2), dtype=np.int64)
    merged = merge_tables(one)
    merged += 1
    assert one.tolist() == [[1, 1]]
    with pytest.raises(InputError, match="one shape"):
        merge_tables(one, np.ones((2, 2), dtype=np.int64))
    with pytest.raises(InputError, match="at least one"):
        merge_tables()


# --- the scores ----------------------------------------------------------------------------


def test_scores_of_the_book_by_hand():
    assert purity(BOOK) == 12 / 17
    by_hand = Fraction(6, 17) * Fraction(10, 36) + Fraction(6, 17) * Fraction(18, 36)
    by_hand += Fraction(5, 17) * Fraction(12, 25)
    assert gini(BOOK) == pytest.approx(float(by_hand), rel=1e-15)
    # 20 pairs share cluster and class; 40 share the cluster, 44 the class, of 136 (section 16.3).
    assert adjusted_rand(BOOK) == pytest.approx((20 - 40 * 44 / 136) / (42 - 40 * 44 / 136))
    assert fowlkes_mallows(BOOK) == pytest.approx(20 / math.sqrt(40 * 44))
    assert normalized_mutual_info(BOOK) == pytest.approx(0.36, abs=0.006)


@pytest.mark.parametrize("shape", [(2, 2), (10, 10), (3, 40), (40, 3), (100, 100)])
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn_on_random_tables(shape, seed):
    rng = np.random.default_rng(seed)
    assert_equals_oracle(rng.integers(0, 100, shape) * (rng.random(shape) < 0.6))


@given(filled_tables)
def test_scores_equal_scikit_learn_on_any_table(table):
    assert_equals_oracle(table)


@given(pairs_of_labels)
def test_scores_equal_scikit_learn_on_any_labels(pairs):
    clusters, classes = np.array(pairs).T
    assert_equals_oracle(contingency_matrix(classes, clusters).T)


@pytest.mark.parametrize(
    "table",
    [
        [[1]],
        [[7]],
        [[0, 0], [0, 3]],
        [[3, 4, 5]],
        [[3], [4], [5]],
        np.eye(1, 5).tolist(),
        np.eye(5).tolist(),
        np.diag([4, 9, 2]).tolist(),
        [[0, 4], [9, 0]],
        [[1, 1], [1, 1]],
        [[2, 4], [3, 6]],
        [[1, 1, 1]],
        [[1], [1]],
        [[5, 0, 0], [0, 0, 0], [0, 0, 5]],
        [[10**5, 0], [1, 0]],
    ],
)
def test_scores_keep_scikit_learns_conventions(table):
    assert_equals_oracle(np.array(table, dtype=np.int64))


@given(filled_tables)
def test_scores_are_floats_within_bounds(table):
    for name, value in score_table(table).as_dict().items():
        assert type(value) is float
        assert (-0.5 if name == "ari" else 0.0) <= value <= 1.0, name
    assert purity(table) > 0
    assert gini(table) < 1


@given(filled_tables)
def test_purity_and_gini_equal_exact_fractions(table):
    assert purity(table) == float(exact_purity(table))
    assert gini(table) == pytest.approx(float(exact_gini(table)), rel=1e-14, abs=0)


@pytest.mark.parametrize("score", SYMMETRIC)
@given(table=filled_tables)
def test_symmetric_scores(score, table):
    assert score(table) == pytest.approx(score(table.T), rel=0, abs=1e-15)


@given(filled_tables)
def test_completeness_is_the_homogeneity_of_the_transpose(table):
    assert completeness(table) == homogeneity(table.T)


@pytest.mark.parametrize("score", SCORES)
@given(table=filled_tables, seed=st.integers(0, 99))
def test_scores_do_not_depend_on_the_order_of_labels(score, table, seed):
    rng = np.random.default_rng(seed)
    mixed = table[rng.permutation(table.shape[0])][:, rng.permutation(table.shape[1])]
    assert score(mixed) == score(table)


@pytest.mark.parametrize("score", SCORES)
@given(table=filled_tables)
def test_empty_clusters_and_classes_change_nothing(score, table):
    assert score(np.pad(table, 1)) == score(table)


@pytest.mark.parametrize("sizes", [[1, 2, 3], [10**10, 7, 3], [1] * 50, [333, 333, 334]])
def test_equal_partitions_score_exactly_one(sizes):
    scores = score_table(np.diag(sizes)[::-1]).as_dict()
    if max(sizes) == 1:
        assert scores.pop("fowlkes_mallows") == 0.0
    assert scores.pop("gini") == 0.0
    assert set(scores.values()) <= {1.0}


@pytest.mark.parametrize("scale", [1, 10**3, 10**9])
def test_independent_partitions_share_exactly_no_information(scale):
    scores = score_table(np.outer([1, 2, 5], [3, 4]) * scale)
    assert scores.nmi == scores.homogeneity == scores.completeness == scores.v_measure == 0.0


@pytest.mark.parametrize("scale", [10**10, 10**16])
def test_huge_counts_do_not_overflow(scale):
    table = BOOK * scale
    assert purity(table) == float(exact_purity(table)) == purity(BOOK)
    assert gini(table) == pytest.approx(float(exact_gini(table)), rel=1e-14)
    assert adjusted_rand(table) == pytest.approx(float(exact_rand(table)), rel=1e-14)
    squared = float(exact_fowlkes_mallows_squared(table))
    assert fowlkes_mallows(table) == pytest.approx(math.sqrt(squared), rel=1e-14)
    for score in (normalized_mutual_info, homogeneity, completeness, v_measure):
        assert score(table) == pytest.approx(score(BOOK), rel=1e-14)


def test_one_row_in_ten_billion_is_seen():
    table = np.array([[10**10, 1], [0, 10**10]])
    assert 0 < 1 - purity(table) < 1e-10
    assert gini(table) == pytest.approx(float(exact_gini(table)), rel=1e-15)
    rare = np.array([[10**10, 0], [1, 1]])
    entropy = math.log1p(1e-10) + 1e-10 * math.log(10**10)
    assert homogeneity(rare) == pytest.approx(1 - 2e-10 * math.log(2) / entropy, rel=1e-7)


def test_unsigned_tables_do_not_wrap():
    assert score_table(BOOK.astype(np.uint8)) == score_table(BOOK)
    assert score_table((BOOK * 10**10).astype(np.uint64)) == score_table(BOOK * 10**10)


@pytest.mark.parametrize("shape", [(3, 2), (0, 0), (3, 0), (0, 2)])
def test_a_table_without_rows_has_no_scores(shape):
    table = np.zeros(shape, dtype=np.int64)
    assert set(score_table(table).as_dict().values()) == {None}
    for score in SCORES:
        with pytest.raises(InputError, match="no rows"):
            score(table)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.array([1, 2]), "1 dimensions"),
        (np.array([[1.0, 2.0]]), "float64"),
        (np.array([[3, -1]]), "negative"),
    ],
)
def test_scores_refuse_what_is_no_table(table, said):
    for score in [*SCORES, score_table]:
        with pytest.raises(InputError, match=said):
            score(table)


def test_scores_are_frozen_and_named():
    scores = score_table(BOOK)
    names = [field.name for field in dataclasses.fields(Scores)]
    assert (
        list(scores.as_dict())
        == names
        == [
            "purity",
            "gini",
            "ari",
            "nmi",
            "homogeneity",
            "completeness",
            "v_measure",
            "fowlkes_mallows",
        ]
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.purity = 1.0


# --- the wrappers on labels ----------------------------------------------------------------


@given(pairs_of_labels)
def test_wrappers_take_any_labels_in_scikit_learns_order(pairs):
    clusters, classes = np.array(pairs).T
    table = contingency_matrix(classes, clusters).T
    named = [f"class {c}" for c in classes]
    for truth, labels in [(named, clusters * 5 - 3), (-classes, clusters.astype(str))]:
        for wrapper, score in [(purity_score, purity), (gini_index, gini)]:
            value = wrapper(truth, labels)
            assert type(value) is float
            assert value == score(table)


def test_wrappers_count_minus_one_as_a_class():
    assert purity_score([-1, -1, 0], [0, 0, 0]) == 2 / 3


@pytest.mark.parametrize("wrapper", [purity_score, gini_index])
@pytest.mark.parametrize(
    ("truth", "labels", "said"),
    [
        ([], [], "no rows"),
        ([0, 1], [0], "1 labels but 2 classes"),
        ([[0, 1]], [0, 1], "labels_true must be one-dimensional"),
        ([0, 1], 3, "labels_pred must be one-dimensional"),
        (np.array(["a", 1], dtype=object), [0, 1], "labels_true must be all"),
    ],
)
def test_wrappers_refuse_what_they_cannot_count(wrapper, truth, labels, said):
    with pytest.raises(InputError, match=said):
        wrapper(truth, labels)


@settings(max_examples=20)
@given(st.integers(1, 60))
def test_a_cluster_for_each_row_is_pure(n):
    classes = np.arange(n) % 4
    assert purity_score(classes, np.arange(n)) == 1.0
    assert gini_index(classes, np.arange(n)) == 0.0
