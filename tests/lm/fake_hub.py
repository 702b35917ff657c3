"""A hub of one process: real HTTP on localhost, as much of it as fetching a snapshot takes."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A small hub: repositories are folders, each with one commit; counts what it hands out."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.served: list[str] = []
        self.status = 200
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815  # the name that the server looks up

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0].strip("/")
        if self.status != 200:
            return self._send(request, self.status, b"{}", {})
        for name, folder in self.repositories.items():
            if path.startswith(f"api/models/{name}"):
                return self._api(request, path.removeprefix(f"api/models/{name}"), folder)
            if path.startswith(f"{name}/resolve/{COMMIT}/"):
                file = path.removeprefix(f"{name}/resolve/{COMMIT}/")
                content = (folder / file).read_bytes()
                if request.command == "GET":
                    self.served.append(file)
                tag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                return self._send(request, 200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        return self._send(request, 404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _api(self, request: BaseHTTPRequestHandler, rest: str, folder: Path) -> None:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if rest in ("", "/revision/main", f"/revision/{COMMIT}"):
            body: object = {"id": "x", "sha": COMMIT, "siblings": [{"rfilename": path.name} for path in files]}
        elif rest.startswith(f"/tree/{COMMIT}"):
            body = [
                {"type": "file", "path": path.name, "size": path.stat().st_size,
                 "oid": hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()}
                for path in files
            ]  # fmt: skip
        else:
            return self._send(request, 404, b'{"error": "Invalid rev"}', {"X-Error-Code": "RevisionNotFound"})
        return self._send(request, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)
