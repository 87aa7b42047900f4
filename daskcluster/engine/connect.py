"""Ways to a Dask cluster: one of this machine, made for the occasion, or one that is there."""

import importlib.util
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dask
from distributed import Client, LocalCluster, Security
from distributed.comm import resolve_address
from distributed.worker_memory import parse_memory_limit

from daskcluster.engine.aside import aside
from daskcluster.engine.stopping import current_stop
from daskcluster.errors import BudgetError, EngineError, InputError
from daskcluster.schema import parse_json, record, text
from daskcluster.sizing import MIB, WORKER_IDLE

_PATIENCE = 2.0  # seconds; a scheduler that is there answers at once
_MOST_TRIES = 20  # to read a scheduler's file, a tenth of a second apart
_LOG = logging.getLogger(__name__)


@contextmanager
def local_cluster(
    n_workers: int, threads_per_worker: int = 1, memory_limit: str | int = "auto"
) -> Iterator[Client]:
    """A LocalCluster of worker processes that ends with the block.

    Raises
    ------
    BudgetError
        The limit is below what a worker needs before it does anything.

    Examples
    --------
    >>> from daskcluster.engine import local_cluster
    >>> with local_cluster(1) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    _check_limit(memory_limit, threads_per_worker)
    with _workers_spared_from_ctrl_c():
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=threads_per_worker,
            memory_limit=memory_limit,
            dashboard_address=":0",
            silence_logs=logging.ERROR,
            preload=["daskcluster.engine.preload"],
        )
    with cluster, Client(cluster) as client:
        yield client


def _check_limit(memory_limit: str | int, threads: int) -> None:
    """Dask would kill such workers and start others for ever, with a traceback each."""
    limit = parse_memory_limit(memory_limit, threads, logger=_LOG)
    if limit is not None and limit < WORKER_IDLE:
        raise BudgetError(
            f"a memory limit of {limit / MIB:,.0f} MiB is less than the {WORKER_IDLE / MIB:,.0f} "
            "MiB that a worker needs before it does anything: raise it with --memory-limit (`plan` "
            "says what a fit needs), or leave --workers out"
        )


@contextmanager
def _workers_spared_from_ctrl_c() -> Iterator[None]:
    """Processes begun here ignore SIGINT.

    A terminal sends it to all processes. The driver ends the workers in good order, which it cannot
    when they have died in the middle of a message.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Certificates:
    """Files of a cluster that speaks TLS: who may be trusted, and who we are."""

    ca_file: str
    cert: str
    key: str

    def security(self) -> Security:
        """Dask's own form; raises `InputError` for a file that cannot be read."""
        for path in (self.ca_file, self.cert, self.key):
            if not os.access(path, os.R_OK) or not Path(path).is_file():
                raise InputError(f"{path}: no readable file; give the PEM files of the cluster")
        return Security(
            tls_ca_file=self.ca_file,
            tls_client_cert=self.cert,
            tls_client_key=self.key,
            require_encryption=True,
        )


def dashboard_link(client: Client | None) -> str | None:
    """Where the cluster's dashboard is; None where it has none, as without bokeh."""
    if client is None or not client.dashboard_link:
        return None
    # A scheduler without bokeh names its port all the same, where a page says what is missing.
    there = client.run_on_scheduler(importlib.util.find_spec, "bokeh") is not None
    return str(client.dashboard_link) if there else None


@contextmanager
def connected(
    address: str | None = None,
    *,
    scheduler_file: str | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Client]:
    """The active client of a cluster that is there already, and stays.

    Parameters
    ----------
    address : str, optional
        Of the scheduler, such as ``tcp://10.0.0.1:8786`` or ``tls://...``.
    scheduler_file : str, optional
        File that ``dask scheduler --scheduler-file`` writes; waited for if it is not there yet.
    certificates : Certificates, optional

    Raises
    ------
    EngineError
        Nobody answers there.
    """
    security = Security() if certificates is None else certificates.security()
    if scheduler_file is not None:
        address = _address_in(Path(scheduler_file))
    if address is not None:
        _check_address(address, security)
    where = address if scheduler_file is None else f"{address} of {scheduler_file}"
    try:
        client = _client(address, security)
    except OSError as error:
        raise EngineError(
            f"no scheduler answers at {where} ({error}): start one with `dask scheduler`, or check "
            "the address, and the certificates if it speaks TLS"
        ) from error
    with client, client.as_current():
        yield client


def _client(address: str | None, security: Security) -> Client:
    """A client once the scheduler answers; Dask's own waiting says nothing and hears no stop."""
    stop, began, told = current_stop(), time.monotonic(), False

    def look() -> None:
        nonlocal told
        stop.check()
        if not told and time.monotonic() - began > _PATIENCE:
            limit = dask.config.get("distributed.comm.timeouts.connect")
            _LOG.warning("no scheduler answers at %s yet: waiting, for %s at most", address, limit)
            told = True

    # One that fails to connect must not stay behind as the default.
    return aside(partial(Client, address, security=security, set_as_default=False), 0.05, look)


def _address_in(path: Path) -> str:
    """The address in a scheduler's file, once it is there: Dask's client would hear no stop."""
    stop, told, tries = current_stop(), False, 0
    while True:
        stop.check()
        if path.exists():
            try:
                return _address_of(path.read_bytes())
            except (ValueError, OSError) as error:
                tries += 1  # it may be half-written
                if tries == _MOST_TRIES:
                    raise InputError(
                        f"{path} is no scheduler file ({error}): give the one that `dask scheduler "
                        "--scheduler-file` writes"
                    ) from error
        elif not told:
            _LOG.warning("%s is not there yet: waiting for its scheduler", path)
            told = True
        time.sleep(0.1)


def _address_of(content: bytes) -> str:
    facts = parse_json(content)
    record({"address": text()})(facts, "")
    return str(facts["address"])


def _check_address(address: str, security: Security) -> None:
    """Refuse what no client could connect to, before one is made that cannot be closed again."""
    try:
        scheme = resolve_address(address).partition("://")[0]
    except (ValueError, OSError) as error:
        raise InputError(f"{address} is no address of a scheduler: {error}") from error
    if scheme == "tls" and security.get_connection_args("client").get("ssl_context") is None:
        raise InputError(
            f"{address} speaks TLS: give --tls-ca-file, --tls-cert and --tls-key, or set them in "
            "Dask's configuration"
        )
