"""The command that shows the whole job."""

import click

from daskcluster.cli.common import PATH, Output, printing
from daskcluster.cli.running import running
from daskcluster.cli.show import demo_lines
from daskcluster.demo import run_demo


@click.command()
@click.argument("folder", default="daskcluster-demo", type=PATH)
@printing
@running
def demo(folder: str, output: Output) -> None:
    """Run the whole job on scikit-learn's digits, in FOLDER.

    \b
    Example:
      daskcluster demo
    """
    facts = run_demo(folder, progress=output.progress)
    output.result(facts, demo_lines(facts))
