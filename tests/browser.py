"""A page in headless Chromium, driven by its DevTools protocol."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tornado.websocket import websocket_connect

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)  # fmt: skip


@contextmanager
def chromium():
    """The address of a browser's DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # Proxies are for the network, and there is none here.
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        process = subprocess.Popen(command, env=plain, **quiet)
        try:
            yield _address(Path(profile) / "DevToolsActivePort", process)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(file, process):
    for _ in range(600):
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"127.0.0.1:{lines[0]}"
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        time.sleep(0.1)
    raise AssertionError("chromium has not opened its port")


class Tab:
    """An open page; ``events`` are all that it has told of."""

    def __init__(self, socket):
        self._socket, self._ids, self.events = socket, itertools.count(1), []

    async def ask(self, method, **params):
        name = next(self._ids)
        await self._socket.write_message(
            json.dumps({"id": name, "method": method, "params": params})
        )
        while True:
            message = await self._next()
            if message.get("id") == name:
                assert "error" not in message, message
                return message["result"]

    async def _next(self):
        text = await asyncio.wait_for(self._socket.read_message(), 60)
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    async def wait_for(self, method):
        while not any(event["method"] == method for event in self.events):
            await self._next()

    async def evaluate(self, expression):
        found = await self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def told(self, *methods):
        return [event["params"] for event in self.events if event["method"] in methods]


async def _visit(address, path, width, height, scheme, media, use):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://{address}/json/new?about:blank", method="PUT")
    with opener.open(request) as answer:
        url = json.load(answer)["webSocketDebuggerUrl"]
    socket = await websocket_connect(url, max_message_size=1 << 28)
    try:
        tab = Tab(socket)
        for room in ("Page", "Runtime", "Log", "Network"):
            await tab.ask(f"{room}.enable")
        await tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        await tab.ask("Emulation.setEmulatedMedia", media=media,
                      features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        await tab.ask("Page.navigate", url=Path(path).absolute().as_uri())
        await tab.wait_for("Page.loadEventFired")
        return await use(tab)
    finally:
        socket.close()


def visit(address, path, use, *, width=1280, height=900, scheme="light", media="screen"):
    """Open the page in a tab of its own and return what the coroutine ``use(tab)`` finds there."""
    return asyncio.run(_visit(address, path, width, height, scheme, media, use))
