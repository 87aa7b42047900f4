"""An object store on loopback, and a proxy that puts it at a distance."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

PATIENCE = 60  # seconds that moto may take to start


@contextmanager
def object_store() -> Iterator[int]:
    """The port of moto's S3 server, which lives as long as the block."""
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


def _until_it_answers(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class FarAway:
    """A proxy that hands on each piece of a request after a while; counts requests.

    The next may be on its way meanwhile; answers come back at once.
    """

    def __init__(self, port: int, latency: float = 0.05) -> None:
        self.requests = 0
        self.port = 0
        self._behind, self._latency = port, latency
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def hand_on(self, piece: bytes, sink: asyncio.StreamWriter) -> None:
        """Send a piece of a request to the server, late."""
        self._loop.call_later(self._latency, sink.write, piece)

    def later(self, delay: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``act`` in the proxy's own thread after so many seconds."""
        return self._loop.call_later(delay, act)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", self._behind)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._ask(reader, far), self._answer(near, writer), return_exceptions=True
            )

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(2**20):
            self.requests += piece.count(b" HTTP/1.1\r\n")
            self.hand_on(piece, sink)
        self._loop.call_later(self._latency, sink.close)

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(2**20):
            sink.write(piece)
        sink.close()
