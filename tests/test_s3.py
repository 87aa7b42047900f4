"""Stores in an object store: moto's server on loopback, once at a distance of 50 ms."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import s3fs
import zarr
from distributed import Client, LocalCluster

from daskcluster import (
    KMeans,
    StoreError,
    convert_npy,
    evaluate,
    open_labels,
    open_store,
    predict_labels,
)
from daskcluster.cli import main
from daskcluster.store import Build

# s3fs closes the connections of an instance when that is collected, whenever that is.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

LATENCY = 0.05
FIT = {"n_clusters": 5, "random_state": 2, "tol": 0, "max_iter": 3, "init": "random", "n_init": 1}


@pytest.fixture(scope="module")
def server():
    """The port of moto's server, which lives as long as the module's tests."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_it_answers(port)
        yield port
    finally:
        process.kill()
        process.wait()


def _until_it_answers(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def bucket(server, monkeypatch):
    """A fresh bucket's URL, named to this process and its children by the environment alone."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with _endpoint(monkeypatch, server):
        name = f"bucket-{time.monotonic_ns()}"
        s3fs.S3FileSystem().mkdir(name)
        yield f"s3://{name}"


@contextmanager
def _endpoint(monkeypatch, port):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(4).integers(0, 4, (1270, 16_384), dtype=np.uint8)


@pytest.fixture
def store(bucket, rows, tmp_path):
    """Rows in 40 chunks, half a megabyte each before compression."""
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "labels.npy", np.arange(len(rows)) % 3)
    return convert_npy(
        tmp_path / "rows.npy", f"{bucket}/rows.zarr", labels=tmp_path / "labels.npy",
        rows_per_chunk=32,
    )  # fmt: skip


def bits(model):
    return (model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_)


def test_everything_from_and_to_s3(store, bucket, rows):
    """Written, read, labelled and scored by threads, and by the processes of a cluster."""
    assert repr(open_store(f"{bucket}/rows.zarr")) == repr(store)
    expected = KMeans(**FIT).fit(rows)
    model = KMeans(**FIT).fit(f"{bucket}/rows.zarr")
    assert bits(model) == bits(expected)
    predict_labels(model, store, f"{bucket}/labels.zarr")
    np.testing.assert_array_equal(open_labels(f"{bucket}/labels.zarr"), expected.labels_)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            # Forked workers have the environment of the first one's time.
            env={name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        ) as two,
        Client(two),
    ):
        assert bits(KMeans(**FIT).fit(store)) == bits(expected)
        predict_labels(model, store, f"{bucket}/labels.zarr", overwrite=True)
        assert evaluate(model, store)["inertia"] == expected.inertia_
    np.testing.assert_array_equal(open_labels(f"{bucket}/labels.zarr"), expected.labels_)
    names = s3fs.S3FileSystem().ls(f"{bucket}/labels.zarr")
    assert len(names) == 2  # the root's metadata, and one build


def test_a_conversion_to_s3_goes_on(bucket, rows, tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", rows)
    url, write, written = f"{bucket}/rows.zarr", Build.write, []

    def interrupted(self, name, start, rows):
        if len(written) == 13:
            raise KeyboardInterrupt
        written.append(start)
        write(self, name, start, rows)

    monkeypatch.setattr(Build, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_npy(tmp_path / "rows.npy", url, rows_per_chunk=32)
    with pytest.raises(StoreError, match="never sealed"):
        open_store(url)
    with pytest.raises(StoreError, match="--resume"):
        convert_npy(tmp_path / "rows.npy", url, rows_per_chunk=32)
    monkeypatch.setattr(Build, "write", lambda *a: (written.append(a[2]), write(*a)))
    store = convert_npy(tmp_path / "rows.npy", url, rows_per_chunk=32, resume=True)
    assert len(written) == len(set(written)) == 40
    np.testing.assert_array_equal(store.rows(0, len(rows)), rows)
    assert bits(KMeans(**FIT).fit(store)) == bits(KMeans(**FIT).fit(rows))


def test_bad_input_leaves_the_bucket_as_it_was(bucket, tmp_path, capsys):
    np.save(tmp_path / "rows.npy", np.array([[0.0], [np.nan]]))
    with pytest.raises(SystemExit) as caught:
        main(["convert", "npy", str(tmp_path / "rows.npy"), f"{bucket}/rows.zarr"])
    assert caught.value.code == 2
    assert "NaN" in capsys.readouterr().err
    fs = s3fs.S3FileSystem()
    fs.invalidate_cache()
    assert fs.find(bucket) == []


def test_a_chunk_that_is_missing_in_s3(store):
    fs = s3fs.S3FileSystem()
    fs.rm(f"{store.path}/build-{store.info.build}/data/c/7/0")
    with pytest.raises(StoreError, match="c/7/0 is missing"):
        KMeans(**FIT).fit(store)


class FarAway:
    """A proxy that hands on what it is sent after a while; counts requests."""

    def __init__(self, port):
        self._port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.requests = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer):
        near, far = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._carry(reader, far, LATENCY),
            self._carry(near, writer, 0.0),
            return_exceptions=True,
        )

    async def _carry(self, source, sink, delay):
        """Each piece arrives ``delay`` later; the next may be on its way meanwhile."""
        while piece := await source.read(2**20):
            self.requests += piece.count(b" HTTP/1.1\r\n") if delay else 0
            self._loop.call_later(delay, sink.write, piece)
        self._loop.call_later(delay, sink.close)

    def close(self):
        async def cancel():
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def test_reading_ahead_hides_latency(store, server, monkeypatch):
    """At least three quarters of 50 ms a request."""
    # Restarts, so that requests for chunks outweigh those that open the store one by one.
    model = KMeans(n_clusters=5, init="random", n_init=4, random_state=2, max_iter=1, tol=0,
                   memory_budget=0)  # fmt: skip

    def seconds():
        began = time.perf_counter()
        model.fit(store.path)
        return time.perf_counter() - began

    near = min(seconds() for _ in range(2))
    proxy = FarAway(server)
    try:
        with _endpoint(monkeypatch, proxy.port):
            far = min(seconds() for _ in range(2))
    finally:
        proxy.close()
    n_requests = proxy.requests / 2
    added = n_requests * LATENCY
    print(f"{n_requests} requests, {near:.2f} s near, {far:.2f} s far, {added:.2f} s added")
    # A request a chunk and pass: two a restart, and one for the rows that it draws.
    assert 7 * 40 < n_requests < 13 * 40
    assert far - near < added / 4


def test_what_is_no_bucket(bucket, capsys):
    zarr.create_group(f"{bucket}/group", attributes={"theirs": 1})
    for place, message in ((f"{bucket}/nothing", "not a daskcluster store"),
                           (f"{bucket}/group", "not a daskcluster store")):  # fmt: skip
        with pytest.raises(StoreError, match=message):
            open_store(place)
    with pytest.raises(SystemExit) as caught:
        main(["fit", "s3://no-such-bucket/rows.zarr", "m", "--k", "2"])
    assert caught.value.code == 2
    assert "no-such-bucket" in capsys.readouterr().err
