"""What decides a fit: its options, checked, and as JSON."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError
from daskcluster.fit.data import Dataset
from daskcluster.kernels.frame import Floats
from daskcluster.sizing import LARGEST_MAGNITUDE
from daskcluster.survey import Scale

INITS = ("auto", "refined", "k-means++", "k-means||", "random")
RunKey = tuple[int, int, int, float | None]
Init = str | Floats | Callable[[int, int], Floats]


@dataclass(frozen=True)
class Options:
    """What decides a fit's result; the same options and seed give the same bits."""

    n_clusters: int
    init: Init
    """A name in `INITS`, centres, or a call of (seed, restart) that returns centres."""
    n_init: int
    max_iter: int
    tol: float
    seed: int
    algorithm: str = "lloyd"
    beta: float | None = None
    """Stiffness of a soft fit; None for a hard one."""
    metric: str | None = None
    """Of a soft fit, or cosine of a hard one."""
    standardize: bool = False
    precision: str | None = None
    """float32, float64, or auto for whichever serves."""
    restart: int = 0
    """Which of the restarts this is."""

    @property
    def key(self) -> RunKey:
        """What tells the runs of a fit, or a sweep, apart."""
        return self.n_clusters, self.seed, self.restart, self.beta


def describe(data: Dataset, scale: Scale | None, options: Options) -> dict[str, dict[str, Any]]:
    """All that decides a fit's result, as JSON; rows whose scale nobody knows are no others."""
    init = options.init
    if isinstance(init, np.ndarray):
        init = _digest(init)
    elif callable(init):
        init = "callable"
    content = None
    if data.build is None:
        content = data.reader.identity()
        if scale is not None:
            content = _digest(scale.moments.sums, scale.moments.squares)
    rows = {"rows": data.n_rows, "features": data.n_features, "type": data.dtype}
    if data.weights is not None:
        rows["weights"] = _digest(data.weights, np.int64(data.weight_unit))
    plain = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "restart"}
    plain = {name: value for name, value in plain.items() if value is not None}
    if options.beta is not None:
        plain["beta"] = str(options.beta)  # infinity is no JSON
    return {
        "data": {"build": data.build, "content": content, **rows},
        "options": plain | {"init": init},
        "software": {"daskcluster": versions()["daskcluster"]},
    }


def _digest(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def init_name(options: Options) -> str:
    """Where a fit begins, for a model: a name, 'array' or 'callable'."""
    if isinstance(options.init, str):
        return options.init
    return "callable" if callable(options.init) else "array"


def given_centers(options: Options, n_features: int) -> Floats | None:
    """Initial centres that need no rows; None where they have a name."""
    if isinstance(options.init, str):
        return None
    if not callable(options.init):
        return options.init.astype(np.float64, copy=False)
    centers = np.asarray(options.init(options.seed, options.restart), dtype=np.float64)
    check_centers(centers, options.n_clusters, n_features)
    return centers


def check_n_clusters(n_clusters: int, n_rows: int, name: str) -> None:
    """Raise `InputError` for fewer rows than clusters, in scikit-learn's words."""
    if n_rows < n_clusters:
        raise InputError(
            f"{name}: n_samples={n_rows} should be >= n_clusters={n_clusters}: ask for fewer"
        )


def check_centers(centers: Any, n_clusters: int, n_features: int) -> None:
    """Raise `InputError` for initial centres of another shape, or not finite."""
    if centers.ndim != 2 or centers.shape[0] != n_clusters:
        raise InputError(
            f"The shape of the initial centers {centers.shape} does not match the number of "
            f"clusters {n_clusters}."
        )
    if centers.shape[1] != n_features:
        raise InputError(
            f"The shape of the initial centers {centers.shape} does not match the number of "
            f"features of the data {n_features}."
        )
    # NaN is the extreme of what holds it, and is in no range.
    if not (centers.max() <= LARGEST_MAGNITUDE and centers.min() >= -LARGEST_MAGNITUDE):
        raise InputError(
            f"The initial centers hold NaN, infinity or magnitudes above {LARGEST_MAGNITUDE:.3g}."
        )
