"""What Dask's configuration says of this package, under ``daskcluster``."""

import dask
import dask.utils


def seconds(name: str, default: float) -> float:
    """A time, as of the environment's ``DASK_DASKCLUSTER__NO_WORKER_TIMEOUT=10m``."""
    return float(dask.utils.parse_timedelta(dask.config.get(f"daskcluster.{name}", default)))
