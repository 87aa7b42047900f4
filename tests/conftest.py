"""Fixtures that several modules share."""

import os
from importlib import import_module

import dask
import numpy as np
import pytest

# As Dask's own suite does: workers are forked off a process that has imported what they need.
# Dask looks once, when it is imported.
dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
from distributed import Client, LocalCluster  # noqa: E402
from hypothesis import settings  # noqa: E402

# A machine may be busy: how long an example takes says nothing. The same examples each time, so
# that what passes here passes elsewhere; --hypothesis-profile=explore draws others.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("fixed")


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: many tests wait for processes of their own."""
    return os.cpu_count() + 1


# They take minutes, in processes of their own: whoever begins with one should not be the last.
LONGEST_FIRST = (
    "test_scripts", "test_batch", "test_faults", "test_same_bits", "test_cluster", "test_real_data",
    "test_s3", "test_resume", "test_report", "test_readme", "test_hosts", "test_text",
    "test_report_page", "test_fuzz",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def _two_workers():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(_two_workers):
    """The active client of a cluster of two worker processes, which is started once."""
    with Client(_two_workers) as client:
        yield client


@pytest.fixture
def own_cluster():
    """The active client of two worker processes that a test may harm."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made,
        Client(made) as client,
    ):
        # Imports keep a worker from its heartbeats, and a test's patience is short.
        client.run(import_module, "daskcluster.assess")
        yield client


@pytest.fixture
def rng():
    return np.random.default_rng(0)
