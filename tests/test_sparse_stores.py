"""Sparse stores on workers: the bits of one process, also where a worker dies; bounded memory."""

import json
import os
import signal
from fractions import Fraction
from pathlib import Path

import dask
import numpy as np
import pytest
from scipy import sparse

from daskcluster import KMeans, SoftKMeans, convert_text, evaluate, open_store
from daskcluster.engine import Silent
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.sparse import SparseRows

N = 9500


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same short documents in chunks of one grain, and in one chunk."""
    folder = tmp_path_factory.mktemp("short")
    rng = np.random.default_rng(0)
    words = np.array([f"w{i:03d}" for i in range(300)])
    with (folder / "t.jsonl").open("w") as file:
        for topic in rng.integers(0, 5, N):
            picked = (rng.integers(0, 60, rng.integers(0, 7)) + 60 * topic) % 300
            line = {"text": " ".join(words[picked]), "label": str(topic)}
            file.write(json.dumps(line) + "\n")
    source = folder / "t.jsonl"
    return [
        convert_text(source, folder / f"{size}.zarr", rows_per_chunk=size) for size in (1, 20_000)
    ]


def hard(store, **options):
    model = KMeans(6, random_state=2, tol=0, max_iter=8, **options).fit(store)
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in model.history_]
    labels = np.asarray(model.labels_).tobytes()
    return model.cluster_centers_.tobytes(), labels, model.inertia_, history


def soft(store, **options):
    model = SoftKMeans(6, random_state=2, beta=40.0, tol=0, max_iter=4, **options).fit(store)
    shares = model.predict_proba(store).compute().tobytes()
    return model.cluster_centers_.tobytes(), shares, model.objective_


@pytest.mark.parametrize("fit", [hard, soft])
def test_no_bit_depends_on_chunks_threads_budgets_and_workers(stores, client, fit):
    small, whole = stores
    assert small.info.n_chunks == 3
    assert whole.info.n_chunks == 1
    expected = fit(whole, memory_budget=0)  # on the workers
    assert fit(small) == expected
    with dask.config.set(scheduler="synchronous"):
        rows = SparseRows.of(small.rows(0, N)).matrix()
    if fit is hard:
        assert hard(rows) == expected


def test_scores_do_not_depend_on_chunks(stores):
    model = KMeans(6, random_state=2, max_iter=5).fit(stores[0])
    first, second = (evaluate(model, store) for store in stores)
    assert {k: v for k, v in first.items() if k != "passes"} == {
        k: v for k, v in second.items() if k != "passes"
    }


def test_a_killed_worker_changes_no_bit(stores, own_cluster):
    process = next(iter(own_cluster.run(os.getpid).values()))
    expected = hard(open_store(stores[1].path).rows(0, N))
    seen = []

    class KillOnce(Silent):
        def event(self, kind, facts):
            seen.append(kind)
            if len(seen) == 3:
                os.kill(process, signal.SIGKILL)

    model = KMeans(6, random_state=2, tol=0, max_iter=8).fit(stores[0], progress=KillOnce())
    assert model.cluster_centers_.tobytes() == expected[0]
    assert model.inertia_ == expected[2]


def test_rows_that_share_no_column_with_any_centre_are_decided_without_being_written_out(
    monkeypatch,
):
    d = 100_000
    rng = np.random.default_rng(0)
    centers = np.zeros((4, d))
    centers[np.arange(4)[:, np.newaxis], rng.integers(0, 50, (4, 3))] = 1.0
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    columns = rng.integers(100, d, (3000, 2))
    table = sparse.csr_array(
        (np.ones(6000), (np.repeat(np.arange(3000), 2), columns.ravel())), shape=(3000, d)
    )
    rows = SparseRows.of(table)
    norms = [sum(x * x for x in map(Fraction, c[c != 0].tolist())) for c in centers]

    def refuse(self, *args, **kwargs):
        raise AssertionError("rows were written out")

    monkeypatch.setattr(SparseRows, "__array__", refuse)
    labels, _ = Nearest(centers, Frame(None, 0)).labels(rows)
    assert set(labels.tolist()) == {norms.index(min(norms))}


def test_a_worker_killed_while_rows_are_written(stores, own_cluster, tmp_path):
    process = next(iter(own_cluster.run(os.getpid).values()))
    killed = []

    class KillOnce(Silent):
        def rows(self, title, done, total):
            if title == "convert" and not killed:
                killed.append(title)
                os.kill(process, signal.SIGKILL)

    source = Path(stores[0].path).parent / "t.jsonl"
    store = convert_text(source, tmp_path / "s", rows_per_chunk=1, progress=KillOnce())
    assert killed
    found, wanted = store.rows(0, N), stores[0].rows(0, N)
    np.testing.assert_array_equal(found.data, wanted.data)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
