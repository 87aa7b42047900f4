"""Documents as a store of weighed terms: TF-IDF of a corpus that does not fit in memory.

A first pass counts the terms of each part of the corpus; what all parts add up to decides which
terms are kept and what they weigh; a second pass makes rows of the counts. The texts are read once.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from daskcluster.convert.corpus import Corpus, lay_out
from daskcluster.convert.counting import CountParts, DocumentReader, Texts, WriteRows
from daskcluster.convert.parts import DOCUMENTS_PER_PART, count_terms, is_written, write_part
from daskcluster.convert.weighing import TextOptions
from daskcluster.engine import Progress, Session
from daskcluster.engine.stopping import current_stop
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError, StoreError
from daskcluster.sizing import SPARSE_GRAIN, Cut, grain_rows
from daskcluster.sources.documents import Documents
from daskcluster.sources.files import sha256
from daskcluster.sources.text import open_documents
from daskcluster.store import (
    ArraySpec,
    Build,
    BuildReader,
    SparseReader,
    Store,
    StoreInfo,
    building,
    open_store,
    sparse_arrays,
)
from daskcluster.survey import survey

MOST_TERMS = 1 << 22


def convert_text(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    max_features: int | None = None,
    min_df: int | float = 1,
    max_df: int | float = 1.0,
    ngram_range: tuple[int, int] = (1, 1),
    stop_words: str | None = None,
    lowercase: bool = True,
    token_pattern: str = r"(?u)\b\w\w+\b",
    sublinear_tf: bool = False,
    norm: str | None = "l2",
    use_idf: bool = True,
    smooth_idf: bool = True,
    ties: str = "scikit-learn",
    max_vocabulary: int = MOST_TERMS,
    encoding: str = "utf-8",
    decode_error: str = "strict",
    text_field: str = "text",
    label_field: str = "label",
    subfolder: str | None = None,
    like: str | os.PathLike[str] | Store | None = None,
    dense: bool = False,
    rows_per_chunk: int | None = None,
    codec: str = "lz4",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Store:
    r"""Write the documents of a corpus as a store of TF-IDF rows, a row a document.

    The rows are those of scikit-learn's `TfidfVectorizer` with the options of the same names, to
    the bit: with the defaults a document's count of a term times ``log((1 + n) / (1 + df)) + 1``,
    where df of the n documents hold the term, in rows of unit length.

    Parameters
    ----------
    source : path
        A folder in the layout of scikit-learn's `load_files` (category/document), a tar archive of
        one, which is read without being unpacked, or JSON lines.
    store : path or URL
        Where to write.
    max_features : int, optional
        Keep so many terms, those that are most frequent.
    min_df, max_df : int or float, default=1 and 1.0
        Leave out terms of fewer or more documents: a number of them, or as a float a share.
    ngram_range : tuple of two int, default=(1, 1)
        Least and most words of a term.
    stop_words : {'english'}, optional
        Words to leave out.
    lowercase : bool, default=True
    token_pattern : str
        Regular expression of a word; by default two or more letters, digits or underscores.
    sublinear_tf : bool, default=False
        ``1 + log(count)`` in the place of the count.
    norm : {'l2', 'l1'} or None, default='l2'
        Of each row.
    use_idf : bool, default=True
        Weigh terms by their inverse document frequencies.
    smooth_idf : bool, default=True
        Count one document more, which holds all terms.
    ties : {'scikit-learn', 'portable'}, default='scikit-learn'
        Which of equally frequent terms stay at the cut of ``max_features``: those that scikit-learn
        keeps on this machine, or the first by alphabet, on any.
    max_vocabulary : int, default=4,194,304
        The most different terms that the corpus may have before any is left out.
    encoding, decode_error : str, default='utf-8' and 'strict'
        Of the texts, as in `TfidfVectorizer`.
    text_field, label_field : str, default='text' and 'label'
        Of JSON lines.
    subfolder : str, optional
        The folder within the source that holds the categories.
    like : Store, path or URL, optional
        A store of text whose terms and weights new documents are to be written by, as
        `TfidfVectorizer.transform` does; the options that decide these are its own.
    dense : bool, default=False
        Write zeros too: for small vocabularies.
    rows_per_chunk : int, optional
        Rounded up to whole grains; by default near 8 MiB a chunk.
    codec : {'lz4', 'zstd', 'none'}, default='lz4'
        Compression of the chunks. Every chunk has a checksum besides.
    overwrite : bool, default=False
        Replace a store that is there; it stays whole until the new one is.
    resume : bool, default=False
        Go on with a conversion of the same files and options that ended early; one that is
        finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through, such as ``daskcluster.engine.TextLine()``.

    Returns
    -------
    Store
        The sealed store, open.

    Raises
    ------
    InputError
        The source or an option is not what it should be, no term is left, or there are more terms
        than ``max_vocabulary``. Nothing is left on disk.
    StoreError
        Something is at ``store`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.

    References
    ----------
    Manning, Raghavan and Schuetze, *Introduction to Information Retrieval*, Cambridge 2008,
    section 6.2. The smoothing is scikit-learn's.

    Examples
    --------
    >>> from pathlib import Path
    >>> from daskcluster import convert_text
    >>> texts = ["one fish two fish", "red fish blue fish"]
    >>> _ = Path("texts.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    >>> store = convert_text("texts.jsonl", "texts.zarr")
    >>> store.terms
    ['blue', 'fish', 'one', 'red', 'two']
    >>> store.rows(0, 2).toarray().round(2)
    array([[0.  , 0.71, 0.5 , 0.  , 0.5 ],
           [0.5 , 0.71, 0.  , 0.5 , 0.  ]])

    New documents by the same terms and weights:

    >>> _ = Path("new.jsonl").write_text('{"text": "blue whale"}\n')
    >>> convert_text("new.jsonl", "new.zarr", like=store).rows(0, 1).toarray()
    array([[1., 0., 0., 0., 0.]])
    """
    documents = open_documents(
        source, encoding=encoding, decode_error=decode_error, text_field=text_field,
        label_field=label_field, subfolder=subfolder,
    )  # fmt: skip
    options = TextOptions(
        max_features, min_df, max_df, ngram_range, stop_words, lowercase, token_pattern,
        sublinear_tf, norm, use_idf, smooth_idf, ties,
    )  # fmt: skip
    model = None if like is None else open_store(like)
    if model is not None:
        options = options_of(model)
    recipe = _recipe(documents, options, dense, rows_per_chunk, codec, model)
    with building(
        store, n_rows=1, rows_per_chunk=1, codec=codec, recipe=recipe, overwrite=overwrite,
        resume=resume,
    ) as build:  # fmt: skip
        if not build.sealed:
            n_parts = _count(build, documents, options, progress)
            corpus = lay_out(
                build,
                n_parts,
                documents,
                options,
                max_vocabulary,
                rows_per_chunk,
                dense=dense,
                model=model,
            )
            build = replace(build, n_rows=corpus.n_rows, rows_per_chunk=corpus.rows_per_chunk)
            _write(build, corpus, options, progress)
            _seal(build, corpus, documents, options, progress)
    return open_store(store)


def options_of(store: Store) -> TextOptions:
    """The options by which a store's documents were weighed."""
    if store.info.text is None:
        raise InputError(f"{store.path} was not converted from text: name a store that was")
    given = store.info.text["options"]
    try:
        return TextOptions(**given | {"ngram_range": tuple(given["ngram_range"])})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{store.path}: damaged options of text ({error!r}); convert the source again"
        ) from error


def _recipe(
    documents: Documents,
    options: TextOptions,
    dense: bool,
    rows_per_chunk: int | None,
    codec: str,
    model: Store | None,
) -> dict[str, Any]:
    files = []
    for name in documents.files():
        found = Path(name).stat()
        files.append({
            "name": Path(name).name, "bytes": found.st_size, "modified_ns": found.st_mtime_ns,
        })  # fmt: skip
    return {
        "files": files,
        "source": documents.header(),
        "options": options.to_json(),
        "dense": dense,
        "like": None if model is None else model.info.build,
        "rows_per_chunk": rows_per_chunk,
        "codec": codec,
        "daskcluster": versions()["daskcluster"],
    }


def _count(build: Build, documents: Any, options: TextOptions, progress: Progress | None) -> int:
    """Write the counts of all parts; returns how many there are."""
    if not documents.seekable:
        return _count_forward(build, documents, options, progress)
    cut = Cut(documents.n_documents, DOCUMENTS_PER_PART)
    missing = [i for i in range(len(cut)) if not is_written(build, i)]
    if missing:
        # Bytes of documents are known when they are read: a pass is counted by documents.
        with Session(DocumentReader(documents), cut, cut.n_rows, progress=progress) as session:
            session.reduce(CountParts(build, options), "count terms", missing, told=True)
    return len(cut)


def _count_forward(
    build: Build, documents: Documents, options: TextOptions, progress: Progress | None
) -> int:
    """The same of a stream, which has no second place to read from."""
    stop, analyze, index = current_stop(), options.analyzer(), 0
    for texts in _parts_of(documents):
        stop.check()
        if not is_written(build, index):
            write_part(build, index, count_terms(texts.documents, analyze))
        index += 1
        if progress is not None:
            done = (index - 1) * DOCUMENTS_PER_PART + len(texts.documents)
            progress.rows("count terms", done, done)
    if not index:
        raise InputError(f"{documents.path}: no documents; give a source that holds some")
    return index


def _parts_of(documents: Documents) -> Iterator[Texts]:
    stream = documents.stream()
    start = 0
    while some := list(islice(stream, DOCUMENTS_PER_PART)):
        yield Texts(start, some)
        start += len(some)


def _write(build: Build, corpus: Corpus, options: TextOptions, progress: Progress | None) -> None:
    for spec in _arrays(corpus):
        build.create_array(spec)
    if corpus.codes is not None:
        build.create_array(ArraySpec("labels", (), "int32", fill_value=-1))
        for i in build.missing("labels"):
            start = i * build.rows_per_chunk
            build.write("labels", start, corpus.codes[start : start + build.rows_per_chunk])
    # Data is the last of a chunk's arrays that is written.
    missing = build.missing("data")
    if missing:
        cut = Cut(corpus.n_rows, corpus.rows_per_chunk)
        reader = corpus.counts(build)
        with Session(reader, cut, corpus.nbytes, progress=progress) as session:
            job = WriteRows(build, options, corpus.idf, corpus.n_features, corpus.width)
            session.reduce(job, "convert", missing, told=True)


def _arrays(corpus: Corpus) -> tuple[ArraySpec, ...]:
    if corpus.width is None:
        return (ArraySpec("data", (corpus.n_features,), "float64"),)
    return sparse_arrays(corpus.width, corpus.rows_per_chunk, "float64")


def _seal(
    build: Build,
    corpus: Corpus,
    documents: Documents,
    options: TextOptions,
    progress: Progress | None,
) -> None:
    """Read the rows back for their moments, leave out what was only on the way, and seal."""
    n, d, size = corpus.n_rows, corpus.n_features, corpus.rows_per_chunk
    reader: Any = BuildReader(build.path, build.id)
    if corpus.width is not None:
        reader = SparseReader(build.path, build.id, n, d, size, sealed=False)
    with Session(reader, Cut(n, size), corpus.nbytes, progress=progress) as session:
        moments = survey(session, documents.path, n, "float64")
    if corpus.width is not None:
        build.put("moments/sums", moments.sums)
        build.put("moments/squares", moments.squares)
    terms = corpus.put_terms(build)
    build.drop("parts")
    build.drop("order")
    info = StoreInfo(
        build=build.id,
        n_rows=n,
        n_features=d,
        dtype="float64",
        rows_per_chunk=size,
        grain=SPARSE_GRAIN if corpus.width is not None else grain_rows(d),
        codec=build.codec,
        sample_shape=(d,),
        class_names=corpus.class_names,
        moments=moments,
        sources=_sources(documents),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=dict(versions()),
        sparse=None if corpus.width is None else {"stored": corpus.stored, "width": corpus.width},
        text={
            "terms_bytes": terms,
            "options": options.to_json(),
            "source": documents.header(),
        },
    )
    build.seal(info.to_json())


def _sources(documents: Documents) -> tuple[dict[str, Any], ...]:
    found = []
    for name in documents.files():
        path = Path(name)
        facts: dict[str, Any] = {"name": path.name, "header": documents.header()}
        if path.is_file():
            facts |= {"bytes": path.stat().st_size, "sha256": sha256(name)}
        found.append(facts)
    return tuple(found)
