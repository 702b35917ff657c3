"""A hub on this machine: a real HTTP server with as much of the hub, and of GitHub's raw files, as a download takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"

#: What goes wrong: nothing; a web page in place of every answer; a web page in place of the file alone; half a file
#: and then silence.
Fault = Literal["none", "page", "page for the file", "truncated"]


@dataclass
class FakeHub:
    """Files by repository and path, all at one commit; ``main`` is that commit. Use it as a context."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    commit: str = COMMIT
    status: int = 200
    """Any other answers every request."""
    code: str = ""
    """The hub's own word for the error, as a header."""
    fault: Fault = "none"
    sent: int = 0
    """Bytes of files that were asked for by range."""
    requests: list[str] = field(default_factory=list)
    """``METHOD path`` of each request for a file."""

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_POST(self) -> None:
                hub.answer(self)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path.split("?")[0]).strip("/")
        if path.startswith("api/"):
            return self._interface(request, path.split("/"))
        self.requests.append(f"{request.command} {path}")
        if self.status != 200:
            return _send(request, self.status, b"{}", {"X-Error-Code": self.code} if self.code else {})
        if self.fault == "page" or (self.fault == "page for the file" and request.command == "GET"):
            return _send(request, 200, PAGE, {"Content-Type": "text/html"})
        for (repository, name), content in self.files.items():
            if path == f"datasets/{repository}/resolve/{self.commit}/{name}":
                return self._file(request, content)
            if path == f"datasets/{repository}/resolve/main/{name}":
                return self._file(request, content)
            if path == f"{repository}/{self.commit}/{name}":  # as raw.githubusercontent.com has it
                return self._file(request, content)
        for repository, _ in self.files:
            if path.startswith(f"datasets/{repository}/resolve/"):
                known = path.split("/")[4] in {self.commit, "main"}
                code = "EntryNotFound" if known else "RevisionNotFound"
                return _send(request, 404, b"{}", {"X-Error-Code": code, "X-Repo-Commit": self.commit})
        return _send(request, 404, b"404: Not Found", {"X-Error-Code": "RepoNotFound"})

    def _interface(self, request: BaseHTTPRequestHandler, path: list[str]) -> None:
        """Answer what a client asks about a data set: its commit, and the files that it has."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self.status != 200:
            return _send(request, self.status, b"{}", {"X-Error-Code": self.code} if self.code else {})
        repository, rest = "/".join(path[2:4]), path[4:]
        names = {name: content for (owner, name), content in self.files.items() if owner == repository}
        if path[1] != "datasets" or not names:
            return _send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if len(rest) > 1 and rest[1] not in {self.commit, "main"}:
            return _send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if not rest or rest[0] == "revision":
            files = [{"rfilename": name} for name in names]
            return _json(request, {"id": repository, "sha": self.commit, "siblings": files, "private": False})
        entries = _entries(names)
        if rest[0] == "tree":
            below = "/".join(rest[2:])
            deep = "recursive=true" in request.path.lower()
            return _json(request, [entry for place, entry in entries.items() if _below(place, below, deep=deep)])
        if rest[0] == "paths-info":
            wanted = parse_qs(body.decode())["paths"]
            return _json(request, [entries[name] for name in wanted if name in entries])
        return _send(request, 404, b"{}", {})

    def _file(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        tag = hashlib.sha256(content).hexdigest()
        half = self.fault == "truncated" and request.command == "GET"
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if asked is None:
            return _send(request, 200, content, headers, half=half)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.sent += last - first + 1
        return _send(request, 206, content[first : last + 1], headers, half=half)


def _entries(names: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """Return what the hub says of each file, and of each folder that one is in."""
    entries: dict[str, dict[str, object]] = {}
    for name, content in names.items():
        parts = name.split("/")
        for folder in ("/".join(parts[:size]) for size in range(1, len(parts))):
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        entries[name] = {"type": "file", "path": name, "oid": oid, "size": len(content)}
    return entries


def _below(name: str, folder: str, *, deep: bool) -> bool:
    rest = name.removeprefix(f"{folder}/") if folder else name
    return (not folder or rest != name) and (deep or "/" not in rest)


def _json(request: BaseHTTPRequestHandler, content: object) -> None:
    _send(request, 200, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], *, half: bool = False
) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[: len(body) // 2] if half else body)
    if half:
        request.close_connection = True
