"""What a page shows of single clusters: pictures, terms or features, and samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.assess.examples import Example
from daskcluster.assess.summary import ModelSummary
from daskcluster.report.centroids import is_image
from daskcluster.report.images import data_uri
from daskcluster.report.wording import SPACE, number, share

MOST_FEATURES = 8
MOST_CLASSES = 3
MOST_LINES = 3
"""Samples of each kind that are no pictures: they take more room."""


@dataclass(frozen=True)
class Shown:
    """A sample as it stands on the page."""

    image: str | None
    title: str
    """Its class, or else its id or row."""
    words: str
    """All there is to say of it, in words."""
    sure: str
    """How certain it is."""
    rival: int | None
    content: str
    """Its terms or values, where it is no picture."""


@dataclass(frozen=True)
class Card:
    """A cluster as it stands on the page."""

    index: int
    rows: str
    share: str
    image: str | None
    terms: list[str] | None
    features: list[tuple[str, str, str]]
    """Name, value, and deviation from the other clusters."""
    classes: str | None
    least: list[Shown]
    most: list[Shown]


def cards(summary: ModelSummary) -> list[Card]:
    """A card for each cluster that is shown."""
    painter = _Painter(summary)
    return [_card(summary, painter, at, j) for at, j in enumerate(summary.shown)]


def _card(summary: ModelSummary, painter: "_Painter", at: int, j: int) -> Card:
    size, total = summary.sizes[j], sum(summary.sizes) or 1.0
    samples = summary.assessed.examples if summary.assessed is not None else {}
    image = painter.image(summary.centers[at])
    least, most = (some[: None if image else MOST_LINES] for some in samples.get(j, ([], [])))
    terms = None if summary.top_terms is None else summary.top_terms[j]
    return Card(
        index=j,
        rows=f"{number(size)} row{'' if size == 1 else 's'}",
        share=share(size / total),
        image=image,
        terms=terms,
        features=[] if image or terms is not None else painter.features(summary.centers[at]),
        classes=classes_of(summary, j),
        least=[painter.sample(one) for one in least],
        most=[painter.sample(one) for one in most],
    )


def classes_of(summary: ModelSummary, j: int) -> str | None:
    """The largest classes of a cluster, and their shares."""
    scores = {} if summary.assessed is None else summary.assessed.scores
    if scores.get("contingency") is None:
        return None
    row = scores["contingency"][j]
    order = sorted(range(len(row)), key=lambda c: (-row[c], c))[:MOST_CLASSES]
    names, total = scores["class_names"], sum(row)
    kept = [f"{names[c]}{SPACE}({share(row[c] / total)})" for c in order if row[c] > 0]
    return ", ".join(kept) if kept else "rows of no known class"


class _Painter:
    """Rows of one summary as pictures, terms or values."""

    def __init__(self, summary: ModelSummary) -> None:
        self._summary = summary
        shape = summary.sample_shape
        self._shape = shape if shape is not None and is_image(shape) else None
        self._unit = summary.facts["metric"] == "cosine"
        self._range = self._of_all()

    def _of_all(self) -> tuple[float, float]:
        """What is black and what is white, in all pictures."""
        if self._summary.facts["dtype"] == "uint8":
            return 0.0, 255.0
        found = self._summary.assessed
        sides = [] if found is None else [s for two in found.examples.values() for s in two]
        rows = [self._summary.centers, *(one.values for side in sides for one in side)]
        kept = [row for row in rows if row is not None]
        return min(float(r.min()) for r in kept), max(float(r.max()) for r in kept)

    def image(self, row: npt.NDArray[np.float64] | None) -> str | None:
        if self._shape is None or row is None:
            return None
        # Rows of unit length have lost how bright they were.
        low, high = (float(row.min()), float(row.max())) if self._unit else self._range
        return data_uri(row, self._shape, low, high)

    def name(self, feature: int) -> str:
        names = self._summary.names or self._summary.terms
        return f"feature {feature}" if names is None else names[feature]

    def features(self, center: npt.NDArray[np.float64]) -> list[tuple[str, str, str]]:
        """All of few features, else those that set the centre apart from the others most."""
        spread = self._summary.spread
        apart = np.divide(
            center - self._summary.middle, spread, out=np.zeros_like(center), where=spread > 0
        )
        few = len(center) <= MOST_FEATURES
        order = np.arange(len(center)) if few else np.argsort(-np.abs(apart), kind="stable")
        return [
            (self.name(i), number(float(center[i]), 4), f"{apart[i]:+.1f}")
            for i in order[:MOST_FEATURES].tolist()
        ]

    def sample(self, example: Example) -> Shown:
        row = f"row {example.row:,}" if example.id is None else f"{example.id}"
        image = self.image(example.values)
        content = "" if image else self._content(example)
        words = [f"Row {example.row:,}" + ("" if example.id is None else f", id {example.id}")]
        if example.known is not None:
            words.append(f"of class {example.known}")
        if example.runner_up is not None:
            words.append(f"next nearest cluster {example.runner_up}")
        sure = _sure(example)
        return Shown(
            image=image,
            title=row if example.known is None else example.known,
            words=", ".join([*words, sure] if sure else words),
            sure=sure,
            rival=example.runner_up,
            content=", ".join(filter(None, [row if example.known is not None else "", content])),
        )

    def _content(self, example: Example) -> str:
        pairs = example.largest if example.values is None else self._few(example.values)
        if self._summary.terms is not None:
            return " ".join(self.name(i) for i, _ in pairs) or "no terms"
        return ", ".join(f"{self.name(i)} {number(value, 4)}" for i, value in pairs)

    def _few(self, values: npt.NDArray[np.float64]) -> list[tuple[int, float]]:
        """All of few features, the largest of terms that are written out."""
        if self._summary.terms is not None:
            order = np.argsort(-np.abs(values), kind="stable")[:MOST_FEATURES].tolist()
            return [(i, float(values[i])) for i in order if values[i] != 0]
        if len(values) > MOST_FEATURES or self._unit:
            return []
        return list(enumerate(values.tolist()))


def _sure(example: Example) -> str:
    if example.share is not None:
        return f"responsibility {example.share:.4f}"
    return "" if example.margin is None else f"margin {example.margin:.4f}"


def facts_of_features(summary: ModelSummary) -> dict[str, Any]:
    """How clusters are described, for the words around them."""
    image = summary.sample_shape is not None and is_image(summary.sample_shape)
    return {
        "images": image,
        "documents": not image and summary.top_terms is not None,
        "all_features": len(summary.middle) <= MOST_FEATURES,
    }
