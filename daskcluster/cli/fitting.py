"""The commands that fit: one model, or many of the same rows."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from daskcluster.assess import sweep
from daskcluster.cli.common import PATH, RESUME, WEIGHTS, Output, load_array, printing
from daskcluster.cli.facts import fit_facts, sweep_facts
from daskcluster.cli.running import running
from daskcluster.cli.show import fit_lines, sweep_lines
from daskcluster.engine import parse_bytes
from daskcluster.errors import InputError
from daskcluster.fit import KMeans, SoftKMeans, fit_model, load_model
from daskcluster.fit.kmeans import ALGORITHMS
from daskcluster.fit.model import is_model_folder
from daskcluster.fit.options import INITS
from daskcluster.fit.softkmeans import PRECISIONS

Command = Callable[..., Any]


class Several(click.ParamType[Any]):
    """Numbers separated by commas."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.name = "N,N,..."
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int] | list[float]:
        try:
            return [self._kind(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r}: give numbers separated by commas, such as 5,10,20", param, ctx)


def _joined(ctx: Any, param: Any, given: tuple[list[Any], ...]) -> list[Any] | None:
    """``--k 5 --k 10`` is ``--k 5,10``: of an option given twice click would take the last."""
    return [number for numbers in given for number in numbers] or None


_SHAPING = (
    click.option("--soft", is_flag=True, help="Soft k-means: rows belong to clusters by degrees."),
    click.option(
        "--metric", type=click.Choice(("euclidean", "sqeuclidean", "cosine")),
        help="Default euclidean; sqeuclidean is for --soft, cosine (spherical k-means) without.",
    ),
    click.option(
        "--standardize", is_flag=True, help="Columns of mean 0 and standard deviation 1."
    ),
    click.option("--precision", type=click.Choice(PRECISIONS), help="With --soft; default auto."),
    WEIGHTS,
    click.option(
        "--max-iter", type=click.IntRange(1), default=300, show_default=True,
        help="Iterations after which a fit ends all the same.",
    ),
    click.option(
        "--tol", type=click.FloatRange(0), default=1e-4, show_default=True,
        help="Squared shift, in mean variances, that ends a fit; with --soft the shift, as the "
        "data is; 0: when centres repeat.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**63 - 1), help="Drawn, and recorded, if not given."
    ),
    click.option(
        "--algorithm", type=click.Choice(ALGORITHMS), help="Default auto; not with --soft."
    ),
    click.option(
        "--memory-budget", metavar="SIZE", help="Decoded blocks each process keeps; 0 for none."
    ),
)  # fmt: skip
_SHARED = (
    *_SHAPING,
    click.option(
        "--time-budget", metavar="T",
        help="Stop with a checkpoint after T, such as 90s, 45m or 2h.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace what is there of the same kind."),
)  # fmt: skip


def _inits(context: Any, parameter: Any, incomplete: str) -> list[CompletionItem]:
    """Names of ways to begin; files where none begins so: shells take either."""
    names = [CompletionItem(name) for name in INITS if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


_ONE_FIT = (
    click.option(
        "--k", "n_clusters", type=click.IntRange(1), required=True, help="Number of clusters."
    ),
    click.option(
        "--beta", type=float, help="With --soft: its stiffness, in 1 / distance; default 1."
    ),
    click.option(
        "--init", default="auto", show_default=True, metavar="NAME|FILE.npy|MODEL",
        shell_complete=_inits,
        help=f"{', '.join(INITS)}; or centres in a file, or those of a model.",
    ),
    click.option("--n-init", type=click.IntRange(1), help="Restarts; default 1, or 10 for random."),
)  # fmt: skip


def fitting(command: Command) -> Command:
    """Add the options that one fit and many have in common."""
    return _with(_SHARED, command)


def shaping(command: Command) -> Command:
    """Those of them that say what is found, and in how much memory."""
    return _with(_SHAPING, command)


def one_fit(command: Command) -> Command:
    """Add the options of a single fit."""
    return _with(_ONE_FIT, command)


def _with(options: tuple[Any, ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("store", type=PATH)
@click.argument("model", type=PATH)
@one_fit
@fitting
@RESUME
@printing
@running
def fit(
    store: str,
    model: str,
    output: Output,
    weights: str | None,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Fit k-means to STORE and save it as MODEL.

    On the way a checkpoint lies in MODEL: after Ctrl-C, SIGTERM, the end of the time budget or a
    crash, the same command with --resume goes on from it, on any number of workers.

    \b
    Example:
      daskcluster fit mnist.zarr model --k 10 --seed 0 --workers 2
      daskcluster fit mnist.zarr soft --k 10 --soft --beta 0.1 --max-iter 100
      daskcluster fit more.zarr again --k 10 --init model
    """
    fitted = fit_model(
        estimator_of(options), store, model, resume=resume, overwrite=overwrite,
        progress=output.progress, sample_weight=load_array("--weights", weights, "weights"),
    )  # fmt: skip
    facts = fit_facts(fitted)
    output.result(facts, fit_lines(facts, model))


@click.command(name="sweep")
@click.argument("store", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--k", "n_clusters", type=Several(int), required=True, multiple=True, callback=_joined,
    help="Numbers of clusters, as 5,10,20.",
)  # fmt: skip
@click.option(
    "--restarts", type=click.IntRange(1), default=1, show_default=True,
    help="Models of each; restart r has the seed --seed + r.",
)  # fmt: skip
@click.option(
    "--beta", type=Several(float), multiple=True, callback=_joined,
    help="With --soft: stiffnesses, as 0.1,1,10.",
)  # fmt: skip
@click.option(
    "--init", type=click.Choice(INITS), default="auto", show_default=True,
    help="How initial centres are found.",
)  # fmt: skip
@fitting
@RESUME
@printing
@running
def sweep_(
    store: str,
    out: str,
    output: Output,
    n_clusters: list[int],
    restarts: int,
    beta: list[float] | None,
    seed: int | None,
    weights: str | None,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Fit many models to STORE at once, score them, and save the best of each in OUT.

    Each read of the data serves all of them. OUT gets sweep.json, a table of all, and a model for
    each number of clusters.

    \b
    Example:
      daskcluster sweep mnist.zarr sweep --k 5,10,20 --restarts 4 --seed 0
    """
    if beta is not None and not options["soft"]:
        raise click.UsageError("--beta needs --soft")
    kind = _kind(options)
    found = sweep(
        kind(random_state=seed, **options), store, out, n_clusters=n_clusters, restarts=restarts,
        betas=beta, resume=resume, overwrite=overwrite, progress=output.progress,
        sample_weight=load_array("--weights", weights, "weights"),
    )  # fmt: skip
    facts = sweep_facts(found)
    output.result(facts, sweep_lines(facts, out))


def estimator_of(options: dict[str, Any]) -> Any:
    """What the options of a single fit describe."""
    init, n_init, seed = (options.pop(name) for name in ("init", "n_init", "seed"))
    kind = _kind(options)
    return kind(init=_init(init), n_init=n_init or "auto", random_state=seed, **options)


def _kind(options: dict[str, Any]) -> type[Any]:
    """The estimator that the options are of; they are left with what it takes."""
    if options["memory_budget"] is not None:
        parse_bytes(options["memory_budget"])
    soft = options.pop("soft")
    others = ("algorithm",) if soft else ("beta", "precision")
    if any([options.pop(name, None) is not None for name in others]):
        raise click.UsageError(
            "--algorithm is not for --soft" if soft
            else "--beta and --precision need --soft"
        )  # fmt: skip
    for name in [name for name, value in options.items() if value is None]:
        del options[name]
    return SoftKMeans if soft else KMeans


def _init(init: str) -> Any:
    if init in INITS:
        return init
    if init.endswith(".npy"):
        return load_array("--init", init, "centres")
    if not is_model_folder(init):
        raise InputError(
            f"--init {init}: give one of {', '.join(INITS)}, a .npy file of centres, or a model"
        )
    return load_model(init).cluster_centers_
