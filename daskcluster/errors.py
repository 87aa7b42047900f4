"""The package's few named exceptions.

Every message names the file or value, the limit it broke, and the way out.
"""

from collections.abc import Mapping
from typing import Any

_LONGEST = 4000  # characters: two screens


class DaskClusterError(Exception):
    """Base class of all errors raised on purpose by this package.

    Its message can be shown to whoever gave the input: it names the file or value, the limit it
    broke, and the way out.

    Examples
    --------
    >>> from daskcluster import DaskClusterError, open_store
    >>> try:
    ...     open_store("rows.zarr")
    ... except DaskClusterError as error:
    ...     print(error)
    rows.zarr does not exist: write a store with `daskcluster convert`
    """

    def __init__(self, *details: Any) -> None:
        super().__init__(*(_cut(one) if isinstance(one, str) else one for one in details))


def _cut(message: str) -> str:
    """A message without its middle where it is endless: it may quote a name of 70,000 letters."""
    if len(message) <= _LONGEST:
        return message
    return f"{message[: _LONGEST // 2]} [...] {message[-_LONGEST // 2 :]}"


class InputError(DaskClusterError, ValueError):
    """A file, value or option that cannot be used as given; nothing was changed on disk.

    It is a ValueError too, as scikit-learn's own refusals are.

    Examples
    --------
    >>> from daskcluster import KMeans
    >>> KMeans(n_clusters=3).fit([[0.0], [1.0]])
    Traceback (most recent call last):
        ...
    daskcluster.errors.InputError: X: n_samples=2 should be >= n_clusters=3: ask for fewer
    """


class StoreError(InputError):
    """A store that is missing, unsealed, foreign, incomplete, damaged or in the way of a new one.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import convert_npy
    >>> np.save("rows.npy", np.eye(3))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> convert_npy("rows.npy", "rows.zarr")
    Traceback (most recent call last):
        ...
    daskcluster.errors.StoreError: rows.zarr exists: choose another place, or replace it with
    --overwrite
    """


class ModelError(InputError):
    """A model or sweep that is missing, foreign, damaged, of another fit or in the way.

    Examples
    --------
    >>> from daskcluster import load_model
    >>> load_model("model")
    Traceback (most recent call last):
        ...
    daskcluster.errors.ModelError: model is not a daskcluster model: write one with
    `daskcluster fit`
    """


class BudgetError(InputError):
    """A job whose memory bound exceeds what a worker has; the message says what would fit.

    It is raised before a fit begins, not on the way.

    Examples
    --------
    10,000 centres of a million features are 80 GB, and several copies of them are needed:

    >>> from scipy import sparse
    >>> from daskcluster import KMeans
    >>> X = sparse.eye_array(10_000, 1_000_000, format="csr")
    >>> KMeans(n_clusters=10_000, init="random").fit(X)
    Traceback (most recent call last):
        ...
    daskcluster.errors.BudgetError: a worker with ... threads needs ... MiB (0 MiB of it per-row
    state) and may plan with ... MiB of its ...: use fewer threads per worker, more workers, a store
    with fewer rows per chunk, or fewer clusters
    """


class EngineError(DaskClusterError, RuntimeError):
    """The scheduler or its workers could not finish the work.

    Examples
    --------
    >>> import dask
    >>> from daskcluster.engine import connected
    >>> with dask.config.set({"distributed.comm.timeouts.connect": "0.1s"}):
    ...     with connected("tcp://127.0.0.1:1"):
    ...         pass
    Traceback (most recent call last):
        ...
    daskcluster.errors.EngineError: no scheduler answers at tcp://127.0.0.1:1 (...): start one with
    `dask scheduler`, or check the address, and the certificates if it speaks TLS
    """


class Stopped(DaskClusterError):  # noqa: N818 - it says what happened, and is no error
    """Work that ended early through no fault of its own; what it had done may be kept."""

    kept = False
    """Whether the same work can go on later, with ``resume``."""


class Interrupted(Stopped):
    """A signal, Ctrl-C or the end of the time budget stopped the work.

    ``kept`` says whether the same call with ``resume=True`` goes on from what was done.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import Interrupted, KMeans, convert_npy, fit_model
    >>> from daskcluster.engine import Silent, Stop, stoppable
    >>> np.save("rows.npy", np.random.default_rng(0).random((100, 2)))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> stop = Stop()  # Stop(3600) is a time budget of an hour
    >>> class OneIteration(Silent):
    ...     def event(self, kind, facts):
    ...         stop.request(f"{kind} {facts[kind]} is enough for today")
    >>> try:
    ...     with stoppable(stop):
    ...         fit_model(KMeans(5, random_state=0), store, "model", progress=OneIteration())
    ... except Interrupted as error:
    ...     print(error, error.kept)
    iteration 1 is enough for today True
    >>> fit_model(KMeans(5, random_state=0), store, "model", resume=True).converged_
    True
    """


class ClusterLost(Stopped, EngineError):  # noqa: N818 - as above
    """The scheduler is gone, or had no worker for too long.

    How long is set by ``daskcluster.no-worker-timeout`` in Dask's configuration. ``kept`` says
    whether the same call with ``resume=True`` goes on from what was done.

    Examples
    --------
    >>> import dask
    >>> import numpy as np
    >>> from distributed import Client, LocalCluster
    >>> from daskcluster import ClusterLost, KMeans, convert_npy, fit_model
    >>> from daskcluster.engine import Silent
    >>> np.save("rows.npy", np.random.default_rng(0).random((100, 2)))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> local = {"n_workers": 1, "processes": False, "dashboard_address": None}
    >>> with (
    ...     dask.config.set({"daskcluster.no-worker-timeout": "2s"}),
    ...     LocalCluster(**local) as cluster,
    ...     Client(cluster),
    ... ):
    ...     class WorkersLeave(Silent):
    ...         def event(self, kind, facts):
    ...             cluster.sync(cluster.workers[0].close)
    ...     try:
    ...         fit_model(KMeans(5, random_state=0), store, "model", progress=WorkersLeave())
    ...     except ClusterLost as error:
    ...         print(error, error.kept)
    no worker for 2 s at inproc://...: start workers True
    """


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of ``now`` was otherwise before, for a message; empty where all is the same.

    Examples
    --------
    >>> differences({"rows": 3, "seed": 1}, {"rows": 4, "seed": 1})
    'rows was 3 and is 4'
    """
    changed = [name for name, value in now.items() if before.get(name) != value]
    return "; ".join(f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in changed)
