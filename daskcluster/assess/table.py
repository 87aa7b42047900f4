"""Labels as a Parquet file, with the ids of the rows."""

import os
from typing import Any

import numpy as np

from daskcluster.assess.predict import predict_labels, rows_of
from daskcluster.engine import Progress
from daskcluster.fit.data import temporary_store
from daskcluster.sources.predictions import writing_parquet
from daskcluster.store import Store
from daskcluster.store.reading import BuildArray


def predict_parquet(
    model: Any,
    store: str | os.PathLike[str] | Store,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    r"""Write the label of every row of ``store`` to the Parquet file ``out``.

    A column ``id`` holds the store's ids, or else the numbers of the rows; ``label`` the clusters.
    The workers label, the driver writes the file, a chunk at a time; it is whole or not there.

    Parameters
    ----------
    model : KMeans, SoftKMeans or MiniBatchKMeans
        Fitted, or loaded.
    store : Store, path or URL
        Rows of as many features as the model was fitted to. For a model of a store of text also a
        folder, archive or JSON lines of new documents, as `convert_text` takes them.
    out : path
        The Parquet file.
    overwrite : bool, default=False
        Replace a file that is there.
    progress : Progress, optional
        Told of the rows that are through.

    Returns
    -------
    dict
        n_rows, n_clusters, cluster_sizes, out, array (None), passes, seconds.

    Raises
    ------
    InputError
        The model is of other features, or a file is at ``out`` already.
    StoreError
        The store is missing or damaged.
    NotFittedError
        The model is not fitted.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pyarrow.parquet
    >>> from daskcluster import KMeans, convert_table, predict_parquet
    >>> _ = Path("rows.csv").write_text("name,x\na,1\nb,9\nc,2\n")
    >>> store = convert_table("rows.csv", "rows.zarr", id_column="name")
    >>> model = KMeans(2, init=[[1.0], [9.0]]).fit(store)
    >>> predict_parquet(model, store, "labels.parquet")["cluster_sizes"]
    [2, 1]
    >>> pyarrow.parquet.read_table("labels.parquet").to_pydict()
    {'id': ['a', 'b', 'c'], 'label': [0, 1, 0]}
    """
    with rows_of(model, store, progress) as found, temporary_store() as path:
        kind: Any = np.int64 if found.info.ids is None else found.ids(0).dtype
        columns = [("id", str if found.info.ids == "text" else kind), ("label", np.int32)]
        # Refused before anything is labelled.
        with writing_parquet(out, columns, overwrite=overwrite) as write:
            facts = predict_labels(model, found, path, progress=progress)
            build = facts["array"].split("/build-")[1].split("/")[0]
            labels, size = BuildArray(path, build, "labels"), found.info.rows_per_chunk
            for chunk in range(found.info.n_chunks):
                start, stop = chunk * size, min((chunk + 1) * size, found.info.n_rows)
                rows = np.arange(start, stop)
                ids = rows if found.info.ids is None else found.ids(chunk)
                write(ids, labels.rows(start, stop))
    return facts | {"out": os.fspath(out), "array": None}
