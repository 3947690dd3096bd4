"""Headless Chromium for tests of pages, driven over the DevTools protocol through a pipe.

with Chromium() as browser:
    page = browser.open("file:///.../report.html", width=1280, height=800)
    page.wait_for("document.querySelectorAll('tr').length > 1")
    Path("report.png").write_bytes(page.screenshot())   # screenshot(full=True): the whole page, not the window alone
    page.press("Tab"), page.click("#filter"), page.evaluate("document.title"), page.type("text")
    assert page.errors == []          # console errors, exceptions, refused or failed requests
    assert page.requests == [...]     # every URL the page asked for

The browser is put into the virtual environment by `python tests/support/install_browser.py` (`make test` does it).
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BROWSER = Path(sys.prefix) / "browser"
TIMEOUT_S = 60.0
_SWITCHES = (
    *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars", "--no-pings"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--disable-breakpad"),
    *("--font-render-hinting=none", "--force-color-profile=srgb", "--no-zygote"),
)
_KEYS = {  # name: (code, Windows' key code, text)
    **{"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " ")},
    **{"ArrowLeft": ("ArrowLeft", 37, ""), "ArrowUp": ("ArrowUp", 38, "")},
    **{"ArrowRight": ("ArrowRight", 39, ""), "ArrowDown": ("ArrowDown", 40, "")},
}


class Chromium:
    """A browser process with its profile in a temporary folder, both gone at the end."""

    def __enter__(self) -> Chromium:
        if not (BROWSER / "version").is_file():
            raise RuntimeError(f"no browser in {BROWSER}; run: python tests/support/install_browser.py")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._ids, self._inbox, self._pages = itertools.count(1), bytearray(), {}
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Above the numbers 3 and 4, where Chromium expects its ends.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        home = self._folder.name
        environment = os.environ | {
            "HOME": home,
            "LD_LIBRARY_PATH": f"{BROWSER / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":"),
            "FONTCONFIG_FILE": str(BROWSER / "fonts" / "fonts.conf"),
        }
        program = str(BROWSER / "chromium")
        self._log = Path(home, "log.txt")
        self._pid = os.posix_spawn(
            program,
            [program, *_SWITCHES, f"--user-data-dir={home}/profile"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, ends[0], 3),
                (os.POSIX_SPAWN_DUP2, ends[1], 4),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            end = time.monotonic() + TIMEOUT_S
            while os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > end:
                    raise RuntimeError("the browser does not close")
                time.sleep(0.02)
        except (RuntimeError, OSError):
            os.kill(self._pid, signal.SIGKILL)
        for pipe in (self._in, self._out):
            os.close(pipe)
        os.waitpid(self._pid, 0)
        self._folder.cleanup()

    def open(self, url: str, *, width: int = 1280, height: int = 800) -> Page:
        """A new tab that has loaded `url`."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.go(url)
        return page

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            answer = self.receive(end - time.monotonic())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
        raise RuntimeError(f"{method}: no answer in {TIMEOUT_S:g} s; the browser wrote: {self._tail()}")

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message, {} if none comes; events go to their page."""
        end = time.monotonic() + seconds
        while b"\0" not in self._inbox:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                return {}
            data = os.read(self._in, 1 << 20)
            if not data:
                raise RuntimeError(f"the browser ended; it wrote: {self._tail()}")
            self._inbox += data
        line, _, rest = bytes(self._inbox).partition(b"\0")
        self._inbox = bytearray(rest)
        message = json.loads(line)
        page = self._pages.get(message.get("sessionId"))
        if page is not None and "method" in message:
            page.hear(message["method"], message["params"])
        return message

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **parameters)

    def hear(self, method: str, event: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Network.loadingFailed" and not event.get("canceled"):
            self.errors.append(f"request failed: {event['errorText']}")
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(event["entry"]["text"] + " " + event["entry"].get("url", ""))

    def go(self, url: str) -> None:
        self._loaded = False
        failure = self.call("Page.navigate", url=url).get("errorText")
        if failure:
            raise RuntimeError(f"{url}: {failure}")
        end = time.monotonic() + TIMEOUT_S
        while not self._loaded:
            self._browser.receive(1.0)
            if time.monotonic() > end:
                raise RuntimeError(f"{url} did not load in {TIMEOUT_S:g} s; errors: {self.errors}")

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait_for(self, condition: str, *, seconds: float = TIMEOUT_S) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise RuntimeError(f"still not after {seconds:g} s: {condition}; errors: {self.errors}")
            time.sleep(0.05)

    def screenshot(self, *, full: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full, fromSurface=True)["data"]
        return base64.b64decode(data)

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector finds."""
        x, y = self.evaluate(
            f"(e => (e.scrollIntoView({{block: 'nearest'}}), e = e.getBoundingClientRect(),"
            f" [e.x + e.width / 2, e.y + e.height / 2]))(document.querySelector({json.dumps(selector)}))"
        )
        self.click_at(x, y)

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press one key, e.g. "a", "Tab" or "ArrowLeft"."""
        code, number, text = _KEYS.get(key, ("", ord(key[0].upper()), key))
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Put text where the focus is."""
        self.call("Input.insertText", text=text)
