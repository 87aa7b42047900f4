"""The command that says what a fit would take."""

from typing import Any

import click

from daskcluster.cli.common import PATH, Output, load_array, printing
from daskcluster.cli.fitting import estimator_of, one_fit, shaping
from daskcluster.cli.running import supposing
from daskcluster.cli.show import plan_lines
from daskcluster.engine import Workers
from daskcluster.fit import plan


@click.command(name="plan")
@click.argument("store", type=PATH)
@one_fit
@shaping
@printing
@supposing
def plan_(
    store: str, output: Output, weights: str | None, workers: Workers | None, **options: Any
) -> None:
    """Say what `fit` with the same options would take of STORE: passes, bytes, memory, time.

    Some blocks are timed, on the cluster that is named or on this machine's threads; nothing is
    written. The workers of --workers need not be there. What cannot fit is refused.

    \b
    Example:
      daskcluster plan mnist.zarr --k 100
      daskcluster plan mnist.zarr --k 1000 --workers 64 --memory-limit 4GB
    """
    found = plan(
        estimator_of(options), store, workers=workers, progress=output.progress,
        sample_weight=load_array("--weights", weights, "weights"),
    )  # fmt: skip
    facts = found.to_json()
    output.result(facts, plan_lines(facts))
