"""Pages on models of every kind, made from small data, with names that would like to be markup."""

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from idx_files import write_idx

from daskcluster import (
    KMeans,
    MiniBatchKMeans,
    SoftKMeans,
    convert_idx,
    convert_npy,
    convert_table,
    convert_text,
    fit_model,
    sweep,
    write_report,
)

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
VOID = {"meta", "link", "img", "line", "circle", "path", "rect", "br"}
KINDS = (
    "images", "soft", "colours", "news", "cosine", "table", "standardized", "memory", "one", "many",
    "two", "rough", "weighted", "sweep", "soft-sweep", "gone", "rebuilt", "other",
)  # fmt: skip


class Page(HTMLParser):
    """What a page holds; the tags must be balanced."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.open, self.said = text, [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.said).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@dataclass
class Made:
    """Where a page is, and what was said of it."""

    path: Path
    facts: dict
    model: Path

    @property
    def page(self):
        return Page(self.path.read_text())


def clouds(rng, n, d, k=3):
    centers = rng.integers(30, 220, (k, d))
    return (centers[np.arange(n) % k] + rng.integers(-25, 25, (n, d))).astype(np.uint8)


class Pages:
    """Makes each page when it is asked for, once."""

    def __init__(self, folder):
        self.folder, self._made, self._stores = folder, {}, {}
        self.rng = np.random.default_rng(0)

    def __getitem__(self, kind):
        if kind not in self._made:
            model = self.folder / f"{kind} <i>&amp;"
            more = getattr(self, f"_{kind.replace('-', '_')}")(model) or {}
            out = self.folder / f"{kind}.html"
            self._made[kind] = Made(out, write_report(model, out, **more), model)
        return self._made[kind]

    def store(self, name):
        if name not in self._stores:
            self._stores[name] = getattr(self, f"_store_{name}")(self.folder / f"{name}.zarr")
        return self._stores[name]

    def _store_digits(self, path):
        write_idx(self.folder / "images", clouds(self.rng, 90, 30).reshape(90, 6, 5))
        write_idx(self.folder / "labels", (np.arange(90) % 3).astype(np.uint8))
        labels = self.folder / "labels"
        return convert_idx(self.folder / "images", path, labels=labels, rows_per_chunk=32)

    def _store_colours(self, path):
        rows = self.rng.normal(size=(40, 75, 70, 3)).astype(np.float32)
        np.save(self.folder / "colours.npy", rows)
        return convert_npy(self.folder / "colours.npy", path)

    def _store_news(self, path):
        topics = {"sci <b>space</b>": "moon orbit <script> probe", EVIL: "goal puck ice team"}
        lines = [
            {"label": label, "text": " ".join(self.rng.choice(words.split(), 5))}
            for label, words in topics.items()
            for _ in range(20)
        ]
        source = self.folder / "news.jsonl"
        source.write_text("\n".join(map(json.dumps, lines)))
        return convert_text(source, path, token_pattern=r"\S+")

    def _store_table(self, path):
        rows = clouds(self.rng, 60, 12).astype(float)
        columns = {"id": [f"<u>{i}</u>" for i in range(60)], "kind": [EVIL, "<a href='//x'>"] * 30}
        columns |= {f"<em>{i}</em>": rows[:, i] for i in range(12)}
        pyarrow.parquet.write_table(pyarrow.table(columns), self.folder / "t.parquet")
        return convert_table(
            [self.folder / "t.parquet"], path, id_column="id", label_column="kind"
        )  # fmt: skip

    def _store_pairs(self, path):
        np.save(self.folder / "pairs.npy", self.rng.normal(size=(900, 2)))
        return convert_npy(self.folder / "pairs.npy", path)

    def _images(self, model):
        fit_model(KMeans(3, random_state=0), self.store("digits"), model)

    def _soft(self, model):
        fit_model(SoftKMeans(3, beta=0.05, random_state=0), self.store("digits"), model)

    def _colours(self, model):
        fit_model(KMeans(2, random_state=0), self.store("colours"), model)

    def _news(self, model):
        fit_model(KMeans(2, random_state=0), self.store("news"), model)

    def _cosine(self, model):
        fit_model(KMeans(2, random_state=0, metric="cosine"), self.store("news"), model)

    def _table(self, model):
        fit_model(KMeans(3, random_state=0), self.store("table"), model)

    def _standardized(self, model):
        fit_model(KMeans(3, random_state=0, standardize=True), self.store("table"), model)

    def _memory(self, model):
        fit_model(KMeans(3, random_state=0), clouds(self.rng, 50, 4), model)

    def _one(self, model):
        fit_model(KMeans(1, random_state=0), self.store("pairs"), model)

    def _many(self, model):
        fit_model(KMeans(200, random_state=0, max_iter=2), self.store("pairs"), model)

    def _two(self, model):
        fit_model(KMeans(4, random_state=0), self.store("pairs"), model)

    def _rough(self, model):
        MiniBatchKMeans(3, random_state=0).fit(self.store("pairs")).save(model)

    def _weighted(self, model):
        weights = np.linspace(0.5, 2.0, 90)
        fit_model(KMeans(3, random_state=0), self.store("digits"), model, sample_weight=weights)

    def _sweep(self, model):
        ks = [1, 2, 3, 4, 6]
        sweep(KMeans(random_state=0), self.store("digits"), model, n_clusters=ks, restarts=2)

    def _soft_sweep(self, model):
        soft = SoftKMeans(random_state=0, max_iter=5)
        sweep(soft, self.store("digits"), model, n_clusters=[2, 3], betas=[0.01, 0.1])

    def _gone(self, model):
        np.save(self.folder / "gone.npy", clouds(self.rng, 40, 3))
        store = convert_npy(self.folder / "gone.npy", self.folder / "gone.zarr")
        fit_model(KMeans(2, random_state=0), store, model)
        Path(store.path).rename(self.folder / "elsewhere.zarr")

    def _rebuilt(self, model):
        np.save(self.folder / "again.npy", clouds(self.rng, 40, 3))
        place = self.folder / "again.zarr"
        fit_model(KMeans(2, random_state=0), convert_npy(self.folder / "again.npy", place), model)
        convert_npy(self.folder / "again.npy", place, overwrite=True)

    def _other(self, model):
        self._images(model)
        return {"store": convert_idx(self.folder / "images", self.folder / "other.zarr")}
