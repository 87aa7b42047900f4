"""The commands that write stores."""

from typing import Any

import click

from daskcluster.cli.common import PATH, RESUME, Output, printing
from daskcluster.cli.facts import store_facts, table_facts
from daskcluster.cli.running import running
from daskcluster.cli.show import convert_lines, left_lines
from daskcluster.convert import convert_idx, convert_npy, convert_table, convert_text
from daskcluster.convert.text import MOST_TERMS
from daskcluster.convert.weighing import TIES
from daskcluster.store import CODECS


@click.group()
def convert() -> None:
    """Write source files as a chunked, checksummed Zarr store.

    \b
    Example:
      daskcluster convert idx images.idx.gz mnist.zarr --labels labels.idx.gz
    """


def _converting(command: Any) -> Any:
    labels = click.option(
        "--labels", type=PATH, metavar="FILE", help="True classes: an IDX or NPY file of integers."
    )
    return _writing(labels(command))


def _writing(command: Any) -> Any:
    """Add the options of all that write a store."""
    for option in (
        click.option(
            "--rows-per-chunk",
            type=click.IntRange(1),
            help="Default: some 8 MiB a chunk.",
        ),
        click.option("--codec", type=click.Choice(CODECS), default="lz4", show_default=True),
        click.option("--overwrite", is_flag=True, help="Replace a store that is there."),
        RESUME,
    ):
        command = option(command)
    return printing(running(command))


@convert.command()
@click.argument("images", type=PATH)
@click.argument("store", type=PATH)
@_converting
def idx(images: str, store: str, output: Output, **options: Any) -> None:
    """Convert the IDX file IMAGES, plain or gzipped, to STORE.

    \b
    Example:
      daskcluster convert idx images.idx.gz mnist.zarr --labels labels.idx.gz
    """
    made = convert_idx(images, store, progress=output.progress, **options)
    output.result(store_facts(made), convert_lines(made))


@convert.command()
@click.argument("rows", type=PATH)
@click.argument("store", type=PATH)
@_converting
def npy(rows: str, store: str, output: Output, **options: Any) -> None:
    """Convert the NPY file ROWS to STORE.

    \b
    Example:
      daskcluster convert npy rows.npy rows.zarr
    """
    made = convert_npy(rows, store, progress=output.progress, **options)
    output.result(store_facts(made), convert_lines(made))


def _share(context: Any, parameter: Any, value: str | None) -> int | float | None:
    """A number of documents, or a share of them: 2 is two documents, 0.5 half of all."""
    if value is None:
        return None
    try:
        return int(value) if value.strip("+-").isdigit() else float(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a number of documents nor a share"
        ) from None


@convert.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.argument("store", type=PATH)
@click.option("--columns", metavar="A,B", help="Features, in order; default all numeric ones.")
@click.option("--label-column", metavar="C", help="True classes: integers or text.")
@click.option("--id-column", metavar="C", help="Comes back with the labels of `predict`.")
@click.option(
    "--missing", type=click.Choice(("error", "drop", "mean")), default="error", show_default=True,
    help="Missing values: refused, their rows dropped, or the column's mean.",
)  # fmt: skip
@_writing
def table(
    files: tuple[str, ...], store: str, output: Output, columns: str | None, **options: Any
) -> None:
    """Convert Parquet or CSV FILES, or folders of them, to STORE.

    \b
    Example:
      daskcluster convert table part-*.parquet rows.zarr --id-column id --missing mean
    """
    chosen = None if columns is None else [name.strip() for name in columns.split(",")]
    made = convert_table(files, store, columns=chosen, progress=output.progress, **options)
    facts = table_facts(made)
    output.result(facts, [*convert_lines(made), *left_lines(facts)])


@convert.command()
@click.argument("source", type=PATH)
@click.argument("store", type=PATH)
@click.option("--max-features", type=click.IntRange(1), help="Keep so many most frequent terms.")
@click.option("--min-df", callback=_share, help="Least documents of a term: 2, or a share 0.01.")
@click.option("--max-df", callback=_share, help="Most documents of a term: 1000, or a share 0.5.")
@click.option("--ngram-range", type=int, nargs=2, help="Terms of so many words: 1 2.")
@click.option("--stop-words", metavar="W", help="'english' leaves out scikit-learn's list of them.")
@click.option("--lowercase/--no-lowercase", default=None, help="Default: lower case.")
@click.option("--token-pattern", metavar="REGEX", help="What a word is.")
@click.option("--sublinear-tf", is_flag=True, default=None, help="1 + log(tf) in place of tf.")
@click.option("--norm", type=click.Choice(("l1", "l2", "none")), help="Of rows; default l2.")
@click.option("--use-idf/--no-use-idf", default=None, help="Default: weigh by idf.")
@click.option("--smooth-idf/--no-smooth-idf", default=None, help="Default: smooth.")
@click.option("--ties", type=click.Choice(TIES), help="At the cut of --max-features.")
@click.option(
    "--max-vocabulary",
    type=click.IntRange(1),
    help=f"Most different terms; default {MOST_TERMS:,}.",
)
@click.option("--encoding", help="Of the texts; default utf-8.")
@click.option("--decode-error", help="strict, ignore or replace.")
@click.option("--text-field", help="Of JSON lines; default text.")
@click.option("--label-field", help="Of JSON lines; default label.")
@click.option("--subfolder", help="The folder within SOURCE that holds the categories.")
@click.option(
    "--like", type=PATH, metavar="STORE", help="By the terms and weights of another store of text."
)
@click.option("--dense", is_flag=True, help="Write zeros too: for small vocabularies.")
@_writing
def text(source: str, store: str, output: Output, **options: Any) -> None:
    """Convert documents to STORE as TF-IDF rows.

    SOURCE is a folder in the layout category/document, a tar archive of one, or JSON lines. The
    options have the names and meanings of scikit-learn's TfidfVectorizer.

    \b
    Example:
      daskcluster convert text 20news-bydate.tar.gz news.zarr --subfolder 20news-bydate-train \\
          --encoding latin-1 --max-features 1000
    """
    if options["norm"] == "none":
        options["norm"] = None
    elif options["norm"] is None:
        del options["norm"]
    given = {name: value for name, value in options.items() if value is not None or name == "norm"}
    made = convert_text(source, store, progress=output.progress, **given)
    output.result(store_facts(made), convert_lines(made))
