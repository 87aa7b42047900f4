"""Corpora as stores: to the bit what scikit-learn makes of them, in any number of parts."""

import json
import os
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_files
from sklearn.feature_extraction.text import TfidfVectorizer

from daskcluster import InputError, KMeans, convert_text, evaluate, load_model, open_store
from daskcluster.assess import open_labels, predict_labels
from daskcluster.convert import counting, parts, text
from daskcluster.convert.weighing import TextOptions, kept_terms

WORDS = [
    f"{a}{b}" for a in ("red", "blue", "Green", "old", "new") for b in ("fish", "tree", "", "42")
]


def some_texts(n, seed=0, most=12):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    texts = [
        " ".join(rng.choice(WORDS, rng.integers(0, most), p=weights / weights.sum()))
        for _ in range(n)
    ]
    return ["" if i % 17 == 5 else t for i, t in enumerate(texts)]


@pytest.fixture
def folder(tmp_path):
    """A folder of documents in three categories."""
    place = tmp_path / "corpus"
    for i, words in enumerate(some_texts(120)):
        category = place / ("sci.a", "sci.b", "alt-c")[i % 3]
        category.mkdir(parents=True, exist_ok=True)
        (category / f"{i * 37 % 1000}").write_text(words)
    return place


def rows_of(store):
    return store.rows(0, store.info.n_rows)


def equal(store, matrix):
    """Whether a store holds a matrix, bit for bit."""
    matrix = sparse.csr_array(matrix)
    matrix.sort_indices()
    found = sparse.csr_array(rows_of(store))
    assert found.shape == matrix.shape
    np.testing.assert_array_equal(found.indptr, matrix.indptr)
    np.testing.assert_array_equal(found.indices, matrix.indices)
    np.testing.assert_array_equal(found.data, matrix.data)


@pytest.fixture(params=[7])
def part_size(request, monkeypatch):
    for module in (parts, counting, text):
        monkeypatch.setattr(module, "DOCUMENTS_PER_PART", request.param)


OPTIONS = {
    "default": {},
    "max_features": {"max_features": 7},
    "frequencies": {"min_df": 3, "max_df": 0.5},
    "share": {"min_df": 0.05, "max_df": 100},
    "bigrams": {"ngram_range": (1, 2), "max_features": 25},
    "stop words": {"stop_words": "english", "token_pattern": r"[a-z]+"},
    "case": {"lowercase": False},
    "sublinear, l1": {"sublinear_tf": True, "norm": "l1"},
    "counts": {"use_idf": False, "norm": None},
    "not smooth": {"smooth_idf": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_folder_is_what_scikit_learn_makes_of_it(folder, tmp_path, part_size, name):
    options = OPTIONS[name]
    theirs = load_files(folder, encoding="utf-8", shuffle=False)
    vectorizer = TfidfVectorizer(**options)
    store = convert_text(folder, tmp_path / "s", **options)
    equal(store, vectorizer.fit_transform(theirs.data))
    assert store.terms == vectorizer.get_feature_names_out().tolist()
    if vectorizer.use_idf:
        np.testing.assert_array_equal(store.idf, vectorizer.idf_)
    else:
        assert store.idf is None
    assert list(store.info.class_names) == theirs.target_names
    np.testing.assert_array_equal(store.labels(), theirs.target)
    leftovers = {p.name for p in (tmp_path / "s").glob("build-*/*")}
    assert not leftovers & {"parts", "order"}


def test_an_archive_in_any_order_is_its_folder(folder, tmp_path, part_size):
    archive = tmp_path / "corpus.tar.gz"
    files = [p for p in folder.rglob("*") if p.is_file()]
    np.random.default_rng(1).shuffle(files)
    with tarfile.open(archive, "w:gz") as tar:
        for file in files:
            tar.add(file, f"top/{file.relative_to(folder)}")
    store = convert_text(archive, tmp_path / "a", max_features=9)
    wanted = convert_text(folder, tmp_path / "f", max_features=9)
    equal(store, rows_of(wanted))
    np.testing.assert_array_equal(store.labels(), wanted.labels())


def test_json_lines_with_and_without_labels(tmp_path, part_size):
    texts = some_texts(90)
    lines = [{"body": t, "kind": i % 4 if i % 5 else None} for i, t in enumerate(texts)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = convert_text(
        tmp_path / "t.jsonl", tmp_path / "s", text_field="body", label_field="kind"
    )
    equal(store, TfidfVectorizer().fit_transform(texts))
    assert store.info.class_names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(
        store.labels(), [i % 4 if i % 5 else -1 for i in range(len(texts))]
    )
    bare = convert_text(tmp_path / "t.jsonl", tmp_path / "b", text_field="body")
    assert bare.info.class_names is None


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_ties_at_the_cut(tmp_path_factory, data):
    texts = data.draw(
        st.lists(st.lists(st.sampled_from("abcdefghijklmnopqrst"), max_size=6).map(" ".join),
                 min_size=2, max_size=12)
    )  # fmt: skip
    limit = data.draw(st.integers(1, 12))
    folder = tmp_path_factory.mktemp("ties")
    (folder / "t.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    options = {"max_features": limit, "token_pattern": r"\w"}
    vectorizer = TfidfVectorizer(**options)
    try:
        wanted = vectorizer.fit_transform(texts)
    except ValueError:
        with pytest.raises(InputError, match="terms is left"):
            convert_text(folder / "t.jsonl", folder / "s", **options)
        assert not (folder / "s").exists()
        return
    equal(convert_text(folder / "t.jsonl", folder / "s", **options), wanted)


def test_portable_ties_are_the_first_by_alphabet():
    terms, tf = list("abcdef"), np.array([1, 2, 1, 2, 1, 1])
    kept = kept_terms(terms, tf, tf, 9, TextOptions(max_features=4, ties="portable"))
    assert kept.tolist() == [0, 1, 2, 3]


def test_dense_rows_are_the_sparse_ones(folder, tmp_path):
    thin = convert_text(folder, tmp_path / "s", max_features=8)
    wide = convert_text(folder, tmp_path / "d", max_features=8, dense=True)
    np.testing.assert_array_equal(rows_of(wide), rows_of(thin).toarray())
    assert wide.info.sparse is None
    fits = [KMeans(3, random_state=0, tol=0).fit(s) for s in (thin, wide)]
    assert fits[0].cluster_centers_.tobytes() == fits[1].cluster_centers_.tobytes()
    scores = [evaluate(model, s) for model, s in zip(fits, (thin, wide), strict=True)]
    assert scores[0]["inertia"] == scores[1]["inertia"]
    assert scores[0]["silhouette"] == pytest.approx(scores[1]["silhouette"], rel=1e-9)
    assert scores[0]["top_terms"] == scores[1]["top_terms"]


def test_new_documents_by_an_old_vocabulary(folder, tmp_path, part_size):
    store = convert_text(folder, tmp_path / "s", min_df=2)
    texts = [*some_texts(30, seed=5), "of words that nobody knew"]
    (tmp_path / "new.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    vectorizer = TfidfVectorizer(min_df=2)
    vectorizer.fit(load_files(folder, encoding="utf-8", shuffle=False).data)
    new = convert_text(tmp_path / "new.jsonl", tmp_path / "n", like=store)
    equal(new, vectorizer.transform(texts))
    model = KMeans(3, random_state=0).fit(store)
    model.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    predict_labels(model, tmp_path / "new.jsonl", tmp_path / "labels")
    np.testing.assert_array_equal(
        open_labels(tmp_path / "labels"), model.predict(vectorizer.transform(texts))
    )
    assert [len(terms) <= 10 for terms in model.top_terms_] == [True] * 3
    assert {term for terms in model.top_terms_ for term in terms} <= set(store.terms)


def test_on_workers_with_one_killed(folder, own_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "DOCUMENTS_PER_PART", 2048)
    process = next(iter(own_cluster.run(os.getpid).values()))
    wanted = convert_text(folder, tmp_path / "w", rows_per_chunk=1)
    os.kill(process, signal.SIGKILL)
    equal(convert_text(folder, tmp_path / "s", rows_per_chunk=1), rows_of(wanted))


@pytest.mark.parametrize("where", ["count_terms", "weigh"])
def test_a_conversion_that_ended_early_goes_on(folder, tmp_path, monkeypatch, part_size, where):
    wanted = convert_text(folder, tmp_path / "w")

    def fail(*args):
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(counting, where, fail)
        with pytest.raises(Exception, match="the disk is gone"):
            convert_text(folder, tmp_path / "s")
    assert not (tmp_path / "s" / "zarr.json").read_text().count('"n_rows"')
    with pytest.raises(InputError, match="--resume"):
        convert_text(folder, tmp_path / "s")
    with pytest.raises(InputError, match="cannot be gone on with"):
        convert_text(folder, tmp_path / "s", resume=True, min_df=2)
    equal(convert_text(folder, tmp_path / "s", resume=True), rows_of(wanted))
    again = convert_text(folder, tmp_path / "s", resume=True)
    assert again.info.build == open_store(tmp_path / "s").info.build


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_df": 1000}, "max_df"),
        ({"min_df": 100, "max_df": 110}, "none of .* terms is left: lower min_df"),
        ({"min_df": -1}, "min_df=-1"),
        ({"max_df": 1.5}, "max_df=1.5"),
        ({"max_features": 0}, "max_features"),
        ({"ngram_range": (2, 1)}, "ngram_range"),
        ({"stop_words": "klingon"}, "stop_words"),
        ({"token_pattern": "("}, "text options"),
        ({"norm": "l3"}, "norm"),
        ({"ties": "random"}, "ties='random'"),
        ({"max_vocabulary": 3}, "more than 3 different terms.*--max-vocabulary.*--min-df"),
        ({"encoding": "klingon"}, "encoding 'klingon'"),
        ({"subfolder": "nowhere"}, "nowhere"),
        ({"rows_per_chunk": 0}, "rows_per_chunk=0"),
    ],
)
def test_bad_options_leave_nothing(folder, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        convert_text(folder, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_undecodable_bytes_leave_nothing(folder, tmp_path):
    (folder / "sci.a" / "bad").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="byte 3 is not utf-8"):
        convert_text(folder, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    assert convert_text(folder, tmp_path / "s", encoding="latin-1").info.n_rows == 121


def test_no_words_at_all(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": ""}\n{"text": "!"}\n')
    with pytest.raises(InputError, match="none of 0 terms is left"):
        convert_text(tmp_path / "t.jsonl", tmp_path / "s")


def test_the_command_line(folder, tmp_path):
    def run(*arguments, code=0):
        command = [sys.executable, "-m", "daskcluster", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    run("convert", "text", folder, "s", "--min-df", "2", "--ngram-range", 1, 2, "--norm", "l1")
    store = open_store(tmp_path / "s")
    options = store.info.text["options"]
    assert (options["min_df"], options["ngram_range"], options["norm"]) == (2, [1, 2], "l1")
    assert json.loads(run("info", "s", "--json"))["stored"] == store.info.sparse["stored"]
    run("fit", "s", "m", "--k", 3, "--seed", 0)
    assert "cluster 0" in run("info", "m")
    assert "terms of each cluster" in run("evaluate", "m", "s")
    run("predict", "m", folder, "labels")
    np.testing.assert_array_equal(
        open_labels(tmp_path / "labels"), load_model(tmp_path / "m").predict(rows_of(store))
    )
    assert "min-df" in run("convert", "text", folder, "t", "--min-df", "many", code=2)
    assert "none of" in run("convert", "text", folder, "t", "--min-df", "100", code=2)
    (tmp_path / "empty").mkdir()
    assert "empty" in run("convert", "text", "empty", "t", code=2)
    assert not (tmp_path / "t").exists()
