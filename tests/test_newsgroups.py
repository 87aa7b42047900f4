"""20 Newsgroups: to the bit what scikit-learn makes of it, and the reference fits."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from daskcluster import KMeans, convert_text, evaluate
from daskcluster.fit.data import store_dataset
from daskcluster.seeding import take_rows
from daskcluster.sources.documents import row_order
from daskcluster.sources.text import open_documents

REFERENCE = json.loads((Path(__file__).parent / "data" / "newsgroups.json").read_text())
OPTIONS = {"subfolder": "20news-bydate-train", "encoding": "latin-1"}


@pytest.fixture(scope="module")
def archive():
    given = os.environ.get("TWENTY_NEWSGROUPS_PATH")
    if not given:
        pytest.skip("TWENTY_NEWSGROUPS_PATH is not set")
    return Path(given) / "20news-bydate.tar.gz"


@pytest.fixture(scope="module")
def texts(archive):
    """All documents in the order of the rows."""
    documents = sorted(open_documents(archive, **OPTIONS).stream(), key=lambda d: row_order(d.name))
    return [document.text for document in documents]


@pytest.fixture(scope="module", params=[False, True], ids=["sparse", "dense"])
def store(request, archive, tmp_path_factory):
    place = tmp_path_factory.mktemp("news") / "train.zarr"
    return convert_text(archive, place, max_features=1000, dense=request.param, **OPTIONS)


@pytest.mark.slow
def test_equals_scikit_learn_to_the_bit(texts, store):
    wanted = TfidfVectorizer(max_features=1000).fit_transform(texts)
    wanted.sort_indices()
    found = store.rows(0, len(texts))
    if store.info.sparse is None:
        np.testing.assert_array_equal(found, wanted.toarray())
        return
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.data, wanted.data)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(REFERENCE["fits"])))
def test_the_reference_fits(store, place):
    reference = REFERENCE["fits"][place]
    assert [store.info.n_rows, store.info.n_features] == REFERENCE["shape"]
    with store_dataset(store).session() as session:
        init = take_rows(session, reference["init_rows"])
    model = KMeans(20, init=init, tol=0, max_iter=1000).fit(store)
    digest = hashlib.sha256(model.labels_.compute().astype("<i4").tobytes()).hexdigest()
    assert digest == reference["labels_sha256"]
    scores = evaluate(model, store)
    assert scores["inertia"] == pytest.approx(reference["inertia"], rel=1e-9)
    assert scores["purity"] == pytest.approx(reference["purity"], rel=1e-12)
    assert scores["gini"] == pytest.approx(reference["gini"], rel=1e-12)
