"""k-means of sparse rows, in memory, against scikit-learn's from the same start to its end.

Rows are TF-IDF of 20 Newsgroups with the whole vocabulary, or a synthetic corpus of short documents
whose terms are as frequent as words are (Zipf's law), of some topics. Both fits get the same matrix
of SciPy and return centres and labels, which are compared. Beside them their floor: as many bare
products of SciPy of the rows and all centres, halves of the rows on two threads.
"""

import argparse
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.cluster
from benchlib import arguments, emit, emit_run, interleaved, ratio, spread
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from daskcluster import KMeans
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sources.text import open_documents

EXAMPLE = "TWENTY_NEWSGROUPS_PATH=... python scripts/bench_sparse.py --data newsgroups-train"
NEWSGROUPS = "TWENTY_NEWSGROUPS_PATH"
SUBSETS = {f"newsgroups-{subset}": f"20news-bydate-{subset}" for subset in ("train", "test")}
THREADS = 2


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        data={"choices": ("zipf", *SUBSETS), "default": "zipf"},
        rows={"type": int, "default": 20_000, "help": "of the synthetic corpus"},
        terms={"type": int, "default": 100_000, "help": "of its vocabulary"},
        words={"type": int, "default": 30, "help": "of a document of it on average"},
        ngrams={"type": int, "default": 1, "help": "longest runs of words that are terms"},
        k={"type": int, "default": 20},
        max_iter={"type": int, "default": 300},
        repeats={"type": int, "default": 5},
        seed={"type": int, "default": 0, "help": "draws the rows both start from"},
    )


def rows_of(options: argparse.Namespace) -> sparse.csr_array:
    """The rows that were chosen, float64."""
    if options.data in SUBSETS:
        return sparse.csr_array(newsgroups(SUBSETS[options.data], options.ngrams))
    return zipf(options.rows, options.terms, options.words, options.k, options.seed)


def newsgroups(subset: str, ngrams: int) -> Any:
    """TF-IDF of a subset, as scikit-learn makes it."""
    if not os.environ.get(NEWSGROUPS):
        sys.exit(f"set {NEWSGROUPS} to the folder with 20news-bydate.tar.gz")
    archive = Path(os.environ[NEWSGROUPS]) / "20news-bydate.tar.gz"
    found = open_documents(archive, subfolder=subset, encoding="latin-1").stream()
    texts = [document.text for document in sorted(found, key=lambda document: document.name)]
    return TfidfVectorizer(ngram_range=(1, ngrams)).fit_transform(texts)


def zipf(n_rows: int, n_terms: int, words: int, n_topics: int, seed: int) -> sparse.csr_array:
    """TF-IDF of documents of words drawn by rank, a third of them from the order of a topic."""
    rng = np.random.default_rng(seed)
    lengths = rng.poisson(words, n_rows) + 1
    row_of = np.repeat(np.arange(n_rows), lengths)
    ranks = (n_terms ** rng.random(len(row_of))).astype(np.int64) - 1
    topics = rng.integers(0, n_topics, n_rows)[row_of]
    own = rng.random(len(row_of)) < 1 / 3
    terms = np.where(own, (ranks + topics * 997) % n_terms, ranks)
    # scikit-learn takes indices of 32 bits alone.
    places = row_of.astype(np.int32), terms.astype(np.int32)
    counts = sparse.csr_array((np.ones(len(terms)), places), shape=(n_rows, n_terms))
    return sparse.csr_array(TfidfTransformer().fit_transform(counts))


def fit_of(kind: Any, start: np.ndarray, rows: sparse.csr_array, models: dict[str, Any],
           options: argparse.Namespace) -> Callable[[], None]:  # fmt: skip
    """A call that fits and keeps the model under the name of its package."""

    def run() -> None:
        model = kind(len(start), init=start, n_init=1, tol=0, max_iter=options.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            models[kind.__module__.split(".")[0]] = model.fit(rows)

    return run


def floor_of(
    rows: sparse.csr_array, start: np.ndarray, models: dict[str, Any]
) -> Callable[[], None]:
    """A call that makes the products of all passes, and nothing else."""
    columns = np.ascontiguousarray(start.T)
    sorted_rows = SparseRows.of(rows)
    cuts = np.linspace(0, len(sorted_rows), THREADS + 1).astype(int).tolist()
    parts = [sorted_rows[a:b].matrix() for a, b in itertools.pairwise(cuts)]

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(models["daskcluster"].n_iter_):
                list(pool.map(lambda part: part @ columns, parts))

    return run


def measure(rows: sparse.csr_array, options: argparse.Namespace) -> None:
    """Run all in turn, print the lines."""
    rng = np.random.default_rng(options.seed)
    picked = np.sort(rng.choice(rows.shape[0], options.k, replace=False))
    start = rows[picked].toarray()
    models: dict[str, Any] = {}
    calls = {
        "daskcluster": fit_of(KMeans, start, rows, models, options),
        "scikit-learn": fit_of(sklearn.cluster.KMeans, start, rows, models, options),
        "products": floor_of(rows, start, models),
    }
    seconds = interleaved(calls, options.repeats)
    ours, theirs = models["daskcluster"], models["sklearn"]
    for name, model in (("daskcluster", ours), ("scikit-learn", theirs)):
        emit(
            "fit", name=name, seconds=spread(seconds[name]), n_iter=int(model.n_iter_),
            inertia=float(model.inertia_),
        )  # fmt: skip
    emit("floor", seconds=spread(seconds["products"]))
    same = bool(np.array_equal(ours.labels_, theirs.labels_))
    own = seconds["daskcluster"]
    faster, over = ratio(seconds["scikit-learn"], own), ratio(own, seconds["products"])
    emit("result", times_as_fast=faster, times_the_floor=over, same_labels=same)
    print(
        f"{faster:.2f} times as fast as scikit-learn (target 3) and {over:.2f} times the bare "
        f"products; {ours.n_iter_} and {theirs.n_iter_} iterations, labels "
        f"{'equal' if same else 'differ'}"
    )


def main() -> None:
    """Make the rows, and run."""
    options = parse()
    rows = rows_of(options)
    sizes = {"n_rows": rows.shape[0], "n_features": rows.shape[1], "stored": rows.nnz}
    emit_run(__file__, options, k=options.k, **sizes)
    measure(rows, options)


if __name__ == "__main__":
    main()
