"""Several hosts for real: network namespaces joined by veth links, TLS on, one link cut and mended.

A scheduler and two workers are hosts of their own; the driver sits beside the scheduler. Workers
reach each other through the scheduler's host, which is their bridge.
"""

import datetime
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daskcluster import KMeans, convert_npy, load_model

NETWORK = "10.177.0"
PORT = 8786
FIT = {"n_clusters": 20, "random_state": 1, "tol": 0}


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)


def what_is_missing():
    """Why no namespaces can be made here; None where they can."""
    if shutil.which("ip") is None:
        return "the program ip (of iproute2) is missing"
    name = f"dc-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "bridge", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"privileges CAP_NET_ADMIN and CAP_SYS_ADMIN are missing ({error.stderr.strip()})"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None


class Hosts:
    """Three namespaces: ``scheduler``, which bridges the links of ``one`` and ``two``."""

    def __init__(self):
        self._names = {host: f"dc-{host}-{os.getpid()}" for host in ("scheduler", "one", "two")}
        self.addresses = {"scheduler": f"{NETWORK}.1", "one": f"{NETWORK}.2", "two": f"{NETWORK}.3"}

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        for name in self._names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        middle = self._names["scheduler"]
        ip("-n", middle, "link", "add", "bridge", "type", "bridge")
        ip("-n", middle, "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        ip("-n", middle, "link", "set", "bridge", "up")
        for host in ("one", "two"):
            name = self._names[host]
            ip("-n", middle, "link", "add", host, "type", "veth", "peer", "eth0", "netns", name)
            ip("-n", middle, "link", "set", host, "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{self.addresses[host]}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def __exit__(self, *error):
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def cut(self, host):
        ip("-n", self._names["scheduler"], "link", "set", host, "down")

    def mend(self, host):
        ip("-n", self._names["scheduler"], "link", "set", host, "up")

    def start(self, host, *command, **options):
        """A process on a host."""
        inside = ["ip", "netns", "exec", self._names[host], sys.executable, "-m"]
        return subprocess.Popen([*inside, *map(str, command)], start_new_session=True, **options)


def certificates(folder):
    """A CA and one certificate for all hosts, as PEM files; the options that name them."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("the test's CA", ca_key, "the test's CA", ca_key, is_ca=True)
    cert = _certificate("a host", key, "the test's CA", ca_key, is_ca=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "cert.pem").write_bytes(cert.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return ("--tls-ca-file", folder / "ca.pem", "--tls-cert", folder / "cert.pem",
            "--tls-key", folder / "key.pem")  # fmt: skip


def _certificate(subject, key, issuer, issuer_key, *, is_ca):
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.IPAddress(ipaddress.ip_address(f"{NETWORK}.{i}")) for i in (1, 2, 3)]
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject)).issuer_name(name(issuer))
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip


def bits(model):
    return (model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_)


@pytest.fixture
def cluster(tmp_path):
    """The hosts, a scheduler and two workers on them, and the options that connect to it."""
    missing = what_is_missing()
    if missing:
        pytest.skip(f"no network namespaces: {missing}")
    tls = certificates(tmp_path)
    address = f"tls://{NETWORK}.1:{PORT}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts())

        def start(host, *command):
            process = hosts.start(host, *command, *tls, **quiet)
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)

        start("scheduler", "dask", "scheduler", "--protocol", "tls", "--host", f"{NETWORK}.1",
              "--port", PORT, "--no-dashboard")  # fmt: skip
        for host in ("one", "two"):
            start(host, "dask", "worker", address, "--protocol", "tls", "--host",
                  hosts.addresses[host], "--nthreads", 1, "--no-dashboard", "--name", host,
                  "--local-directory", tmp_path / host)  # fmt: skip
        yield hosts, ("--scheduler", address, *tls)


def test_a_link_that_is_cut_and_mended(cluster, tmp_path):
    hosts, where = cluster
    rows = np.random.default_rng(0).integers(0, 255, (60_000, 16), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr", rows_per_chunk=1)
    fit = ("fit", store.path, tmp_path / "m", "--k", 20, "--tol", 0, "--seed", 1)
    settings = {"DASK_DASKCLUSTER__SILENT_TIMEOUT": "3s"}
    driver = hosts.start(
        "scheduler", "daskcluster", *fit, "--progress", "json", *where, env=os.environ | settings,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said, cut_at, mended_at = [], None, None
    for line in driver.stderr:
        said.append(line)
        iteration = json.loads(line).get("iteration") if line.startswith("{") else None
        if iteration == 3:
            hosts.cut("two")
            cut_at = time.monotonic()
        if cut_at and mended_at is None and "is silent: its blocks go to others" in line:
            # Iterations went on without it; now it may come back.
            hosts.mend("two")
            mended_at = time.monotonic()
    assert driver.wait(60) == 0, "".join(said)
    assert mended_at is not None, "".join(said)
    assert bits(load_model(tmp_path / "m")) == bits(KMeans(**FIT).fit(rows))


def test_without_its_certificate_nobody_gets_in(cluster, tmp_path):
    hosts, (_, address, *_) = cluster
    (tmp_path / "other").mkdir()
    others = certificates(tmp_path / "other")
    env = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
    np.save(tmp_path / "rows.npy", np.eye(30))
    convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr")
    for options in ((), others):
        fit = ("fit", tmp_path / "rows.zarr", tmp_path / "m", "--k", 2, "--scheduler", address)
        driver = hosts.start(
            "scheduler", "daskcluster", *fit, *options, env=env, stderr=subprocess.PIPE, text=True
        )
        _, said = driver.communicate(timeout=60)
        assert driver.returncode in (1, 2), said
        assert "Traceback" not in said
        assert "certificate" in said or "TLS" in said
        assert not (tmp_path / "m").exists()
