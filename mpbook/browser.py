"""A browser without a window, told what to do over two pipes: it opens a page at a given width and answers JavaScript.

Chromium's own protocol (DevTools), a JSON message at a time, each ended by a zero byte. No port is opened and no
library is needed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from mplib.errors import MplibError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-quic",
    "--hide-scrollbars", "--mute-audio", "--remote-debugging-pipe",
)  # fmt: skip
LAUNCHER = """\
import os, sys
ours = [os.dup(int(number)) for number in sys.argv[1:3]]
for descriptor, standard in zip(ours, (3, 4)):
    os.dup2(descriptor, standard)
    os.set_inheritable(standard, True)
os.execv(sys.argv[3], sys.argv[3:])"""
"""A program that becomes the browser, with the pipes where it looks for them: it reads from 3 and writes to 4."""
PATIENCE = 60.0
"""Seconds after which a browser that does not answer is ended."""


def find() -> str:
    """The path of a Chromium on this machine, empty if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), "")


class Browser:
    """One page of a browser, to be used in a ``with`` block.

    Args:
        program: the path of a Chromium.

    Attributes:
        events: what the page reported since it was opened: errors, console messages, requests.
    """

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="mpbook-browser-", ignore_cleanup_errors=True)
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        arguments = [program, *QUIET, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", LAUNCHER, str(in_read), str(out_write), *arguments],
            pass_fds=(in_read, out_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(in_read)
        os.close(out_write)
        self._to = os.fdopen(in_write, "wb", buffering=0)
        self._from = os.fdopen(out_read, "rb")
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except MplibError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, and remove what it wrote."""
        self._process.kill()
        self._process.wait()
        self._to.close()
        self._from.close()
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer; events that come before it are kept.

        Raises:
            MplibError: the browser refuses, or is gone.
        """
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            self._to.write(json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise MplibError(f"the browser is gone at {method}: {error.strerror}") from error
        answer = self._wait(lambda given: given.get("id") == number)
        if "error" in answer:
            raise MplibError(f"the browser refuses {method}: {answer['error']['message']}")
        return dict(answer["result"])

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Open a page from a file and wait until it is complete.

        Args:
            page: the file.
            width, height: of the view, in CSS pixels.
            dark: whether the reader prefers dark pages.
        """
        self.view(width, height, dark)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._wait(lambda given: given.get("method") == "Page.loadEventFired")

    def view(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Change the width and the colours of the view; the page stays."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        preference = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[preference])

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for.

        Raises:
            MplibError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise MplibError(f"the script failed in the page: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def _wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.start()
        try:
            while True:
                message = self._read()
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
        finally:
            watch.cancel()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._from.read1(1 << 16)
            if not piece:
                raise MplibError(f"the browser ended or said nothing for {PATIENCE:.0f} s, expected an answer")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))
