"""A Hugging Face Hub of one repository on this machine: it keeps the files pushed to it, and serves them."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

LARGE = 10 * 2**20  # bytes; the Hub stores larger files, and all that are not text, outside git
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """The Hub's endpoints that pushing and downloading a bundle need.

    It answers as `huggingface_hub` expects. A request to any other endpoint is answered with 404 and recorded.

    Attributes:
        files: content by path, once committed.
        large: paths that were stored outside git.
        tags: names.
        requests: method and path of every request, in order.
        unknown: those that no endpoint here answers.
        tokens: every authorization that was sent.
    """

    def __init__(self) -> None:
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.large: list[str] = []
        self.tags: list[str] = []
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.tokens: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                hub._answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        body = _read(request)
        with self._lock:
            self.requests.append(f"{request.command} {path}")
            self.tokens.add(request.headers.get("Authorization", ""))
            for pattern, method in (
                (r"/api/repos/create", self._create),
                (r"/api/validate-yaml", self._validate),
                (r"/api/models/[^/]+/[^/]+/preupload/main", self._preupload),
                (r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", self._batch),
                (r"/objects/(?P<oid>[0-9a-f]{64})", self._store),
                (r"/api/models/[^/]+/[^/]+/commit/main", self._commit),
                (r"/api/models/[^/]+/[^/]+/tag/main", self._tag),
                (r"/api/models/[^/]+/[^/]+(/revision/(?P<revision>[^/]+))?", self._info),
                (r"/api/models/[^/]+/[^/]+/tree/(?P<revision>[^/]+)/?", self._tree),
                (r"/[^/]+/[^/]+/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
            ):
                found = re.fullmatch(pattern, path)
                if found:
                    status, headers, content = method(body, **found.groupdict())
                    break
            else:
                self.unknown.append(f"{request.command} {path}")
                status, headers, content = 404, {}, b""
        if not isinstance(content, bytes):
            content, headers = json.dumps(content).encode(), {"Content-Type": "application/json", **headers}
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _name(self) -> str:
        return f"{self.created['organization']}/{self.created['name']}"

    def _create(self, body: bytes) -> tuple[int, dict, Any]:
        self.created = json.loads(body)
        name = self._name()
        return 200, {}, {"url": f"{self.endpoint}/{name}", "name": name, "id": name}

    def _validate(self, body: bytes) -> tuple[int, dict, Any]:
        """Reject what no card's metadata may be; warn where there are none, as the Hub does."""
        match = re.match(r"\s*---\r?\n(.*?)\r?\n---[ \t]*\r?\n", json.loads(body)["content"], re.DOTALL)
        if not match:
            return 200, {}, {"warnings": [{"message": "empty or missing yaml metadata in repo card"}], "errors": []}
        try:
            data = yaml.safe_load(match[1])
        except yaml.YAMLError as error:
            return 400, {}, {"errors": [{"message": str(error)}]}
        bad = not isinstance(data, dict) or not all(isinstance(each, str) for each in data.get("tags", []))
        return (400 if bad else 200), {}, {"errors": [{"message": "not a mapping"}] if bad else []}

    def _preupload(self, body: bytes) -> tuple[int, dict, Any]:
        files = []
        for file in json.loads(body)["files"]:
            binary = b"\0" in base64.b64decode(file["sample"])
            mode = "lfs" if binary or file["size"] > LARGE else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        return 200, {}, {"files": files}

    def _batch(self, body: bytes) -> tuple[int, dict, Any]:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.endpoint}/objects/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        return 200, {}, {"transfer": "basic", "objects": objects}

    def _store(self, body: bytes, oid: str) -> tuple[int, dict, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {}, {"error": "content is not what its digest says"}
        self.objects[oid] = body
        return 200, {}, {}

    def _commit(self, body: bytes) -> tuple[int, dict, Any]:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
                self.large.append(value["path"])
        url = f"{self.endpoint}/{self._name()}/commit/{COMMIT}"
        return 200, {}, {"commitUrl": url, "commitOid": COMMIT, "success": True}

    def _tag(self, body: bytes) -> tuple[int, dict, Any]:
        self.tags.append(json.loads(body)["tag"])
        return 200, {}, {}

    def _info(self, body: bytes, revision: str | None) -> tuple[int, dict, Any]:
        if revision not in (None, "main", COMMIT, *self.tags):
            return 404, {"X-Error-Code": "RevisionNotFound"}, {"error": "no such revision"}
        siblings = [{"rfilename": path} for path in sorted(self.files)]
        private = self.created.get("visibility") == "private"
        return 200, {}, {"id": self._name(), "sha": COMMIT, "private": private, "tags": [], "siblings": siblings}

    def _tree(self, body: bytes, revision: str) -> tuple[int, dict, Any]:
        return (
            200,
            {},
            [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in sorted(self.files.items())
            ],
        )

    def _resolve(self, body: bytes, revision: str, file: str) -> tuple[int, dict, Any]:
        if file not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        data = self.files[file]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(data)),
        }
        return 200, headers, data


def _read(request: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, of known length or in chunks."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    parts = []
    while size := int(request.rfile.readline().split(b";")[0], 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)
