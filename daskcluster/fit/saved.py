"""Fits that end as models on disk, and go on after whatever ended them early."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.engine import Progress
from daskcluster.errors import ModelError
from daskcluster.fit.checkpoint import Checkpoint, Finished
from daskcluster.fit.described import check_model
from daskcluster.fit.estimator import Clusterer
from daskcluster.fit.kmeans import KMeans
from daskcluster.fit.minibatch import MiniBatchKMeans
from daskcluster.fit.model import finished_fit, model_folder, read_centers, read_model
from daskcluster.fit.softkmeans import SoftKMeans

_ESTIMATORS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (KMeans, SoftKMeans, MiniBatchKMeans)
}


def fit_model(
    estimator: Clusterer,
    X: Any,
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    sample_weight: Any = None,
) -> Any:
    """Fit and save, with a checkpoint on the way, so that nothing is lost when the fit is killed.

    Parameters
    ----------
    estimator : KMeans, SoftKMeans or MiniBatchKMeans
        With ``random_state=None`` a fit that goes on keeps the seed that was drawn for it. Fits of
        `MiniBatchKMeans` leave no checkpoint: ended early, they begin again.
    X : array-like, sparse matrix, DataFrame, dask Array, zarr Array, Store, path or URL
        Rows, shape (n_samples, n_features): what `KMeans.fit` takes.
    path : path
        Folder of the model. The checkpoint lies there until the model is whole.
    resume : bool, default=False
        Go on from the checkpoint in ``path``, on any number of workers, with the same bits; a fit
        that is finished already is loaded; without either the fit begins.
    overwrite : bool, default=False
        Replace a model, or a fit that did not end. The model stays until the new one is whole.
    progress : Progress, optional
        Told of every iteration.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        As in `KMeans.fit`.

    Returns
    -------
    KMeans, SoftKMeans or MiniBatchKMeans
        ``estimator``, fitted, or the model that was finished already, which has no ``labels_``.

    Raises
    ------
    ModelError
        What is at ``path`` may not be replaced, or is of other data or options.
    Interrupted, ClusterLost
        Ended early; ``kept`` says whether ``resume`` can go on from here.
    InputError, StoreError, BudgetError, EngineError
        As `KMeans.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, fit_model
    >>> X = np.array([[0.0], [1.0], [9.0]])
    >>> fit_model(KMeans(2, random_state=0), X, "model").inertia_
    0.5
    >>> fit_model(KMeans(2, random_state=0), X, "model", resume=True).inertia_  # loaded
    0.5
    >>> fit_model(KMeans(2, random_state=1), X, "model", resume=True)
    Traceback (most recent call last):
        ...
    daskcluster.errors.ModelError: the model in model is of another fit: seed was 0 and is 1. Give
    the same data and options to go on with it, or start afresh with --overwrite and without
    --resume
    """
    with model_folder(path, overwrite=overwrite, resume=resume) as folder:
        finished = finished_fit(folder) if resume and not overwrite else None
        trail = Checkpoint(folder, resume=resume, finished=finished)
        try:
            fitted = estimator._fit(X, progress, trail, sample_weight)
        except Finished:
            return load_model(path)
        fitted._save(folder)
        return fitted


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read a fitted estimator back; it has no ``labels_``, those come from `KMeans.predict`.

    Parameters
    ----------
    path : path
        Folder that `KMeans.save`, `fit_model` or ``daskcluster fit`` wrote; also a model of a
        sweep, such as ``sweep/k-10``.

    Returns
    -------
    KMeans, SoftKMeans or MiniBatchKMeans
        Whichever was saved.

    Raises
    ------
    ModelError
        Not a model, of another format, or damaged.

    Examples
    --------
    >>> from daskcluster import KMeans, load_model
    >>> KMeans(n_clusters=1).fit([[1.0], [3.0]]).save("model")
    >>> load_model("model").cluster_centers_
    array([[2.]])
    """
    description = read_model(path)
    try:
        return _restore(description, Path(path))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: damaged model ({error!r}); fit again") from error


def _restore(description: dict[str, Any], folder: Path) -> Clusterer:
    check_model(description)
    params, fitted = description["params"], description["fitted"]
    centers = read_centers(folder, description["centers"])
    if centers.shape != (params["n_clusters"], fitted["n_features_in_"]):
        raise ModelError(
            f"{folder}: centres of shape {centers.shape} do not fit the model; fit again"
        )
    fitted.setdefault("init_", params["init"])  # before 0.5 a name said what was done
    if params["init"] in ("array", "callable"):
        params["init"] = centers
    kind = _ESTIMATORS[description["estimator"]]
    # JSON has no infinity.
    model: Clusterer = kind(
        **{k: float(v) if v == "inf" else v for k, v in params.items() if k != "init"}
    )
    model.init = params["init"]
    for name in kind._saved:
        setattr(model, name, fitted[name])
    shape, names = fitted["sample_shape_"], fitted["feature_names_in_"]
    model.cluster_centers_ = centers
    for name in ("mean_", "scale_") if model.standardize else ():
        setattr(model, name, np.array(fitted[name], dtype=np.float64))
        if getattr(model, name).shape != (fitted["n_features_in_"],):
            raise ModelError(f"{folder}: {name} is of other features than the centres; fit again")
    for name, dtype in kind._arrays.items():
        # Weights that are no whole numbers add up to floats.
        real = any(isinstance(value, float) for value in fitted[name])
        setattr(model, name, np.array(fitted[name], dtype="float64" if real else dtype))
        if getattr(model, name).shape != (len(centers),):
            raise ModelError(f"{folder}: {name} is of other clusters than the centres; fit again")
    model.sample_shape_ = None if shape is None else tuple(shape)
    if names is not None:
        model.feature_names_in_ = np.array(names, dtype=object)
    model._n_features_out = len(centers)
    return model
