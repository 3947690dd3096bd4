"""The viewer: a server on the loopback address for one page that shows cases and takes marks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, urlsplit

from custom_components.errors import InputError, explain, suggest
from custom_components.system import pages
from custom_components.system.terminal import count

from multijoint.clinic.viewer.cases import ViewedCase
from multijoint.clinic.viewer.findings import read_findings
from multijoint.clinic.viewer.review_marks import ReviewMarks
from multijoint.clinic.viewer.volumes import ShownCase, check_grids, read_mesh, show_case

_ADDRESS = "127.0.0.1"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PAGE = Path(__file__).with_name("page")
_PAGE_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
    **dict.fromkeys(
        ("niivue.js", "outlines.js", "slices.js", "parts.js", "viewer.js"), "text/javascript; charset=utf-8"
    ),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MAX_BODY = 2**16
_KEPT = 2  # cases in memory: the one that is shown and the one before


class Viewer(ThreadingHTTPServer):
    """Serves cases to browsers of this machine until `shutdown`.

    A page asks for a case by its number, never by a path, and every address begins with a secret that only the user who
    starts the viewer sees. The server refuses a `Host` that is not the loopback address (a foreign name that resolves
    to it, as in DNS rebinding), a request from another page, and any method but GET and POST. Port 0 is any that is
    free.

    A report, where there is one, is served too, and links to the cases. What it holds may come from anywhere: no script
    runs in it but that of this package's own pages, and it loads nothing.

    Raises:
        InputError: the port is taken, or NiiVue is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Viewer([], ReviewMarks(Path(folder, "review.csv"))) as viewer:
        ...         viewer.url.startswith("http://127.0.0.1:")
        True
    """

    daemon_threads = True

    def __init__(
        self, cases: Sequence[ViewedCase], marks: ReviewMarks, *, port: int = 0, report: Path | None = None
    ) -> None:
        from multijoint.clinic.viewer.niivue import find_niivue

        find_niivue()
        self.cases = list(cases)
        self.marks = marks
        self.report = report
        self.secret = secrets.token_urlsafe(16)
        self._shown: dict[int, tuple[Any, ShownCase]] = {}
        self._lock = Lock()
        try:
            super().__init__((_ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port must be free, got {port} ({error}); choose another with --port") from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_ADDRESS}:{self.server_address[1]}/{self.secret}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def show(self, number: int) -> ShownCase:
        """The case, read anew if one of its files has changed."""
        case = self.cases[number]
        with self._lock:  # one at a time: a large case takes gigabytes while it is read
            state = [path and path.stat().st_mtime_ns for path in (case.scan, case.segmentation)]
            kept = self._shown.pop(number, None)
            shown = kept[1] if kept is not None and kept[0] == state else show_case(case)
            self._shown[number] = (state, shown)
            for old in list(self._shown)[:-_KEPT]:
                del self._shown[old]
        return shown

    def url_of(self, name: str) -> str:
        """Where the page shows a case.

        Raises:
            InputError: there is no case of that name.
        """
        names = [case.name for case in self.cases]
        if name not in names:
            hint = suggest(name, names, otherwise="the page lists them")
            raise InputError(f"case must be one of {count(len(names), 'viewed case')}, got {name!r}; {hint}")
        return f"{self.url}?case={quote(name, safe='', errors='surrogateescape')}"

    def find_misfits(self) -> list[str]:
        """Why cases cannot be shown, a line each, as far as headers tell; a lone case is read whole.

        Raises:
            InputError: none can be shown.
        """
        if len(self.cases) == 1:
            self.show(0)
        problems = []
        for case in self.cases:
            try:
                check_grids(case)
            except (InputError, OSError) as error:
                problems.append(explain(error))
        if problems and len(problems) == len(self.cases):
            raise InputError(f"one of the {len(problems)} cases must be fit to be shown, got none; {problems[0]}")
        return problems


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    server_version = "multijoint"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _refuse_method(self) -> None:
        self.close_connection = True  # the body that came with it is not read
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, b"", "text/plain")

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def log_message(self, format: str, *args: object) -> None:
        """Keep no log of who looked at which case."""

    def _answer(self, work: Any) -> None:
        try:
            self._check_sender()
            path = urlsplit(self.path).path
            if not path.startswith(f"/{self.server.secret}/"):
                raise _Refused(HTTPStatus.NOT_FOUND, "not found; use the address that `multijoint view` printed")
            self._send(HTTPStatus.OK, *work(path.removeprefix(f"/{self.server.secret}/")))
        except (ConnectionError, TimeoutError):  # the browser has gone: another case, or a page closed while it loads
            self.close_connection = True
        except _Refused as refused:
            self.close_connection = True
            self._send(refused.status, *_json({"error": str(refused)}))
        except (InputError, OSError, MemoryError) as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, *_json({"error": explain(error)}))

    def _check_sender(self) -> None:
        host = self.headers.get_all("Host", [])
        if len(host) != 1 or re.sub(r":\d+$", "", host[0]).lower() not in _LOOPBACK:
            raise _Refused(HTTPStatus.FORBIDDEN, "host must be this machine's loopback address")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _Refused(HTTPStatus.FORBIDDEN, "request must come from the viewer's own page")
        if self.command == "POST" and self.headers.get("Origin") != f"http://{host[0]}":
            raise _Refused(HTTPStatus.FORBIDDEN, "request must come from the viewer's own page")

    def _get(self, path: str) -> tuple[bytes, str] | tuple[bytes, str, str]:
        name = path or "index.html"
        if name in _PAGE_TYPES:
            return (_PAGE / name).read_bytes(), _PAGE_TYPES[name]
        if name == "cases.json":
            rows = self.server.marks.read()
            cases = [
                {"name": case.name} | {key: rows.get(case.name, {}).get(key, "") for key in ("mark", "comment", "date")}
                for case in self.server.cases
            ]
            has_report = self.server.report is not None and self.server.report.is_file()
            return _json({"cases": cases, "marks": self.server.marks.path.name, "has_report": has_report})
        if name == "report.html" and self.server.report is not None and self.server.report.is_file():
            return self.server.report.read_bytes(), _PAGE_TYPES["index.html"], _report_policy()
        match = re.fullmatch(r"cases/(\d{1,9})(?:\.json|/(scan|labels)\.nii|/mesh(\d{1,9})\.ply)", name, re.ASCII)
        if match is None or int(match[1]) >= len(self.server.cases):
            raise _Refused(HTTPStatus.NOT_FOUND, "not found")
        number = int(match[1])
        meshes = self.server.cases[number].meshes
        if match[3] is not None:
            if int(match[3]) >= len(meshes):
                raise _Refused(HTTPStatus.NOT_FOUND, "not found")
            return read_mesh(meshes[int(match[3])]), "application/octet-stream"
        shown = self.server.show(number)
        if match[2] is not None:
            return (shown.scan if match[2] == "scan" else shown.labels), "application/octet-stream"
        found = read_findings(self.server.cases[number], digest=shown.digest)
        bones = [bone | found["bones"].get(bone["value"], {}) for bone in shown.bones]
        names = [mesh.stem for mesh in meshes]
        return _json(found | {"bones": bones, "slices": shown.slices, "every": shown.every, "meshes": names})

    def _post(self, path: str) -> tuple[bytes, str]:
        match = re.fullmatch(r"cases/(\d{1,9})/mark", path, re.ASCII)
        if match is None or int(match[1]) >= len(self.server.cases):
            raise _Refused(HTTPStatus.NOT_FOUND, "not found")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length, re.ASCII) or int(length) > _MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a mark must have at most {_MAX_BODY} bytes")
        try:
            given = json.loads(self.rfile.read(int(length)))
            mark, comment = given["mark"], given["comment"]
            if not (isinstance(mark, str) and isinstance(comment, str)):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _Refused(HTTPStatus.BAD_REQUEST, "a mark must be JSON with mark and comment") from None
        return _json(self.server.marks.write(self.server.cases[int(match[1])].name, mark=mark, comment=comment))

    def _send(self, status: HTTPStatus, content: bytes, kind: str, policy: str = _POLICY) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, POST"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@cache
def _report_policy() -> str:
    script = Path(pages.__file__).parent.joinpath("page", "base.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _json(content: Any) -> tuple[bytes, str]:
    return json.dumps(content).encode(), "application/json"
