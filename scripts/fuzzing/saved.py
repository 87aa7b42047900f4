"""Readers of what this package wrote: stores, predictions, models, checkpoints and sweeps."""

import contextlib
import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster import (
    InputError,
    Interrupted,
    KMeans,
    SoftKMeans,
    convert_idx,
    convert_npy,
    convert_table,
    convert_text,
    fit_model,
    load_model,
    load_sweep,
    open_labels,
    open_responsibilities,
    open_store,
    predict_labels,
    predict_responsibilities,
    sweep,
)  # fmt: skip
from daskcluster.cli.facts import path_facts, sweep_facts
from daskcluster.cli.show import info_lines
from daskcluster.demo import write_idx
from daskcluster.engine import Silent
from fuzzing.changes import Case, Change, change_chunk, change_json, change_npy, change_npz
from fuzzing.guards import read_case, write_case
from fuzzing.target import LABELS, OUT, REALS, ROWS, TEXTS, Finding, Target


def _kinds(name: str) -> Change:
    """How a file of a store, a model or a sweep is changed."""
    if name.endswith(".json"):
        return change_json
    if name.endswith(".npz"):
        return change_npz
    return change_npy if name.endswith(".npy") else change_chunk


def _check_json(facts: Any) -> None:
    """What `info` prints, in both ways."""
    json.dumps(facts, allow_nan=False)
    "\n".join(info_lines(facts)).encode(errors="backslashreplace")


class Stores(Target):
    """Stores: dense, sparse, of a table; opened, read whole, described and fitted."""

    name = "store"

    def make(self, scratch: Path) -> Iterator[Case]:
        write_idx(scratch / "rows", ROWS)
        write_idx(scratch / "labels", LABELS)
        np.save(scratch / "rows.npy", REALS)
        write_case(scratch, {name: text.encode() for name, text in TEXTS.items()})
        (scratch / "t.csv").write_text("id,x,y\na,1,2\nb,3,5\nc,7,1\n")
        quiet: Any = {"progress": Silent()}
        labels = scratch / "labels"
        convert_idx(scratch / "rows", scratch / "a", labels=labels, rows_per_chunk=32, **quiet)
        convert_npy(scratch / "rows.npy", scratch / "b", codec="zstd", **quiet)
        convert_text(scratch / "docs", scratch / "c", min_df=1, codec="none", **quiet)
        convert_table(scratch / "t.csv", scratch / "d", id_column="id", **quiet)
        for name in "abcd":
            yield {f"store/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        store = open_store(folder / "store")
        _check_json(path_facts(folder / "store"))
        # All of them is what a caller asks for who has the memory.
        most = min(store.info.n_rows, 1000)
        if store.rows(0, most).shape != (most, store.info.n_features):
            raise Finding(f"other rows than it says: {store.info}")
        if store.terms is not None and len(store.terms) != store.info.n_features:
            raise Finding("terms of other columns")
        _ = store.idf
        if store.has_labels and most == store.info.n_rows:
            store.labels()
        for chunk in range(min(store.info.n_chunks, 9) if store.info.ids else 0):
            store.ids(chunk)
        KMeans(2, random_state=0, max_iter=2).fit(store).labels_.compute()


class Predictions(Target):
    """Labels and responsibilities that `predict` wrote."""

    name = "predictions"

    def make(self, scratch: Path) -> Iterator[Case]:
        np.save(scratch / "rows.npy", REALS)
        store = convert_npy(scratch / "rows.npy", scratch / "s", progress=Silent())
        predict_labels(KMeans(2, random_state=0).fit(store), store, scratch / "a")
        soft = SoftKMeans(2, random_state=0, max_iter=3).fit(store)
        predict_responsibilities(soft, store, scratch / "b")
        for name in "ab":
            yield {f"given/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        path = folder / "given"
        facts = path_facts(path)
        _check_json(facts)
        if facts["kind"] == "labels":
            open_labels(path)
        else:
            open_responsibilities(path).compute()


class Models(Target):
    """Models: loaded, described, and asked for labels."""

    name = "model"

    def make(self, scratch: Path) -> Iterator[Case]:
        kinds = (KMeans(2, random_state=0), KMeans(2, random_state=0, standardize=True),
                 SoftKMeans(2, random_state=0, max_iter=4, beta=float("inf")),
                 KMeans(2, random_state=0, init=REALS[:2], metric="cosine"))  # fmt: skip
        for at, model in enumerate(kinds):
            model.fit(REALS + 1).save(scratch / str(at))
            files = read_case(scratch / str(at))
            yield {f"model/{path}": content for path, content in files.items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def draw(self, rng: random.Random) -> Case:
        case = super().draw(rng)
        return _signed(case, "model/") if rng.random() < 0.7 else case

    def read(self, folder: Path) -> None:
        model = load_model(folder / "model")
        _check_json(path_facts(folder / "model"))
        _use(model)


def _use(model: Any) -> None:
    """What a model that loads must be able to do."""
    labels = model.predict(np.ones((4, model.n_features_in_)))
    if not ((labels >= 0) & (labels < len(model.cluster_centers_))).all():
        raise Finding(f"labels {labels}")
    if isinstance(model, SoftKMeans):
        model.predict_proba(np.ones((2, model.n_features_in_)))


def _signed(case: Case, folder: str) -> Case:
    """A case whose centres have the digest that the model names, whatever they are."""
    try:
        said = json.loads(case[f"{folder}model.json"])
        content = case[folder + said["centers"]["file"]]
        said["centers"]["sha256"] = hashlib.sha256(content).hexdigest()
    except (KeyError, ValueError, TypeError, RecursionError):
        return case
    return case | {f"{folder}model.json": json.dumps(said).encode()}


class _Stop(Silent):
    """Ends a fit after so many iterations."""

    def __init__(self, events: int) -> None:
        self._left = events

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Interrupted("enough")


class Checkpoints(Target):
    """Checkpoints of fits, which go on from them."""

    name = "checkpoint"
    _estimators = (
        KMeans(3, random_state=0, max_iter=9, tol=0, init="random", n_init=2),
        KMeans(3, random_state=0, max_iter=9, tol=0, standardize=True),
        SoftKMeans(3, random_state=0, max_iter=5, tol=0),
    )

    def make(self, scratch: Path) -> Iterator[Case]:
        for at, estimator in enumerate(self._estimators):
            for events in (1, 3):
                folder = scratch / f"{at}{events}"
                with contextlib.suppress(Interrupted):
                    fit_model(estimator, REALS, folder, progress=_Stop(events))
                yield {f"model-{at}/{path}": content for path, content in read_case(folder).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        given = next(folder.glob("model-*"), None)
        if given is None:
            return
        work = folder / OUT
        shutil.copytree(given, work)
        estimator = self._estimators[int(given.name[-1])]
        try:
            _use(fit_model(estimator, REALS, work, resume=True))
        except InputError:
            shutil.rmtree(work)
            raise


class Sweeps(Target):
    """Sweeps: loaded and shown."""

    name = "sweep"

    def make(self, scratch: Path) -> Iterator[Case]:
        np.save(scratch / "rows.npy", REALS)
        store = convert_npy(scratch / "rows.npy", scratch / "s", progress=Silent())
        sweep(KMeans(random_state=0), store, scratch / "a", n_clusters=[2, 3], restarts=2)
        soft = SoftKMeans(random_state=0, max_iter=3)
        sweep(soft, store, scratch / "b", n_clusters=[2], betas=[0.5, 1.0])
        for name in "ab":
            yield {f"sweep/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        found = load_sweep(folder / "sweep")
        _check_json({"kind": "sweep", "path": "out", **sweep_facts(found)})
        for model in found.best.values():
            _use(model)
