"""What Dask's configuration says of this package, under ``daskcluster``."""

from pathlib import Path

import dask.config
import dask.utils
import yaml

from daskcluster.errors import InputError

FILE = Path(__file__).with_name("daskcluster.yaml")


def register() -> None:
    """Make the defaults in ``daskcluster.yaml`` known to Dask; what the user has set stays."""
    dask.config.update_defaults(yaml.safe_load(FILE.read_text()))


def seconds(name: str) -> float:
    """A time, as of the environment's ``DASK_DASKCLUSTER__NO_WORKER_TIMEOUT=10m``.

    Examples
    --------
    >>> from daskcluster.settings import seconds
    >>> seconds("silent-timeout")
    20.0
    """
    value = dask.config.get(f"daskcluster.{name}")
    try:
        return float(dask.utils.parse_timedelta(value))
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"Dask's setting daskcluster.{name}: {value!r} is not a time: write it like 90s or 45m"
        ) from error
