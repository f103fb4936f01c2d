"""A headless Chromium, spoken to through its pipe: pages are opened, scripts run in them, pictures taken of them."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
PATIENCE = 60.0  # seconds for an answer, on a busy machine
LAST_WORDS = 10.0  # seconds to end


def find() -> str | None:
    """The program, or None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One process for many pages; `with Browser() as browser`. Raises FileNotFoundError without Chromium.

    The Chrome DevTools Protocol over file descriptors 3 and 4, messages apart by a zero byte:
    https://chromedevtools.github.io/devtools-protocol
    """

    def __init__(self) -> None:
        program = find()
        if program is None:
            raise FileNotFoundError(f"no Chromium: none of {', '.join(NAMES)} is there; apt-get install chromium")
        self.folder = tempfile.mkdtemp(prefix="chromium-")
        ends = [*os.pipe(), *os.pipe()]
        theirs_in, self._out, self._in, theirs_out = (fcntl(end, F_DUPFD_CLOEXEC, 10) for end in ends)  # not 3 or 4
        actions = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
        actions += [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]  # type: ignore[list-item]
        arguments = [program, *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        self.process = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setpgroup=0)
        for end in (*ends, theirs_in, theirs_out):
            os.close(end)
        self._buffer = b""
        self._asked = 0
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self.ask("Browser.close")
        except (OSError, RuntimeError) as error:  # it is gone, or does not listen any more
            print(f"chromium: ended by force: {error}", file=sys.stderr)
        self._end()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        """Wait for the process, then no longer: with all that it has started."""
        end = time.monotonic() + LAST_WORDS
        while not os.waitpid(self.process, os.WNOHANG)[0]:
            if time.monotonic() > end:
                os.killpg(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
                return
            time.sleep(0.01)

    def open(self, address: str, *, width: int = 1400, height: int = 850, **media: str) -> Page:
        """A page that has loaded, in a window of that size; `media` as in CSS: `prefers_color_scheme="dark"`."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.resize(width, height)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        page.ask("Emulation.setEmulatedMedia", features=features)
        page.ask("Page.navigate", url=address)
        self._until(lambda: page.loaded, f"{address} to load")
        return page

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; raises RuntimeError with what Chromium says is wrong."""
        self._asked += 1
        number = self._asked
        question = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(question).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        answer: dict[str, Any] = {}
        self._until(lambda: bool(answer), method, number, answer)
        if "error" in answer:
            raise RuntimeError(f"chromium: {method}: {answer['error']['message']}")
        return answer["result"]

    def _until(self, done: Any, what: str, number: int | None = None, answer: Any = None) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            text, zero, rest = self._buffer.partition(b"\0")
            if not zero:
                if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise TimeoutError(f"chromium: waited {PATIENCE:g} s for {what}")
                piece = os.read(self._in, 1 << 16)
                if not piece:
                    raise RuntimeError(f"chromium ended before {what}")
                self._buffer += piece
                continue
            self._buffer = rest
            message = json.loads(text)
            if "id" not in message:
                if page := self._pages.get(message.get("sessionId", "")):
                    page.hear(message["method"], message["params"])
            elif message["id"] == number:
                answer.update(message)


class Page:
    """A page in a window of its own; `complaints` are its errors and what it wrote to the console."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser, self.session, self.target = browser, session, target
        self.loaded = False
        self.complaints: list[str] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.ask(method, self.session, **parameters)

    def hear(self, event: str, facts: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.exceptionThrown":
            thrown = facts["exceptionDetails"]
            self.complaints.append(thrown.get("exception", {}).get("description", thrown["text"]))
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in facts["args"]))
        elif event == "Log.entryAdded":
            self.complaints.append(facts["entry"]["text"])

    def run(self, script: str) -> Any:
        """The value of an expression, as JSON; a promise is waited for. Raises RuntimeError where the script does."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if thrown := found.get("exceptionDetails"):
            raise RuntimeError(f"chromium: {thrown.get('exception', {}).get('description', thrown['text'])}")
        return found["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """What is in the window, as PNG."""
        return self._written(path, self.ask("Page.captureScreenshot"))

    def print(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """The page on paper, as PDF; `landscape=True` and other options of Page.printToPDF."""
        return self._written(path, self.ask("Page.printToPDF", **options))

    def close(self) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)

    @staticmethod
    def _written(path: str | os.PathLike[str], answer: dict[str, Any]) -> Path:
        path = Path(path)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path
