"""A real HTTP server that answers chat completions by script: it judges, delays, refuses, fails, lies or cuts.

It judges by a rule that a test can know: the longer answer is better, read from between the lines with the code.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PART = re.compile(r"<<< (PROMPT|ANSWER A|ANSWER B) ([0-9a-f]{16})\n(.*?)\n\2 >>>", re.DOTALL)

#: Given the number of the request (from 0) and the request, returns what to do: see :meth:`_Handler.do_POST`.
Script = Callable[[int, "Asked"], Any]


@dataclass(frozen=True)
class Asked:
    """A request as the judge reads it."""

    nonce: str
    prompt: str
    first: str
    second: str
    body: dict[str, Any]
    key: str | None

    @property
    def longer(self) -> str:
        return "A" if len(self.first) >= len(self.second) else "B"

    def verdict(self, choice: str | None = None) -> str:
        """Return what an honest judge replies."""
        return f"One of them says more.\n{self.nonce} {choice or self.longer}"


@dataclass
class FakeJudge:
    """The server's script and what it has seen."""

    script: Script = lambda _number, _asked: None
    requests: list[Asked] = field(default_factory=list)
    bought: Counter[str] = field(default_factory=Counter)
    """Verdicts that were sent whole, by request."""
    most_at_once: int = 0
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def take(self, asked: Asked) -> int:
        with self._lock:
            self.requests.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return len(self.requests) - 1

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def sold(self, asked: Asked) -> None:
        with self._lock:
            self.bought[json.dumps(asked.body, sort_keys=True)] += 1


def completion(text: Any, *, finish: str | None = "stop", usage: Any = ..., **message: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120} if usage is ... else usage
    message = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "judge-1", "choices": [choice]}
    return body if usage is None else {**body, "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    judge: FakeJudge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = json.loads(self.rfile.read(length))
        parts = {name: text for name, _, text in _PART.findall(body["messages"][0]["content"])}
        nonce = next(iter(_PART.findall(body["messages"][0]["content"])), ("", "", ""))[1]
        authorization = self.headers.get("authorization")
        asked = Asked(nonce, parts.get("PROMPT", ""), parts.get("ANSWER A", ""), parts.get("ANSWER B", ""), body,
                      authorization)  # fmt: skip
        number = self.judge.take(asked)
        try:
            self._answer(self.judge.script(number, asked), asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.judge.leave()

    def _answer(self, what: Any, asked: Asked) -> None:
        """Do what the script says.

        None: judge honestly. A text: reply it. A mapping: send it as the body. ``(status, headers, body)``: an error.
        ``("sleep", seconds, rest)``: wait first. ``("cut", share)``: close the connection in the middle of an honest
        reply. ``"reset"``: close it at once.
        """
        if isinstance(what, tuple) and what[0] == "sleep":
            time.sleep(what[1])
            self._answer(what[2], asked)
            return
        if what == "reset":
            self.close_connection = True
            return
        if isinstance(what, tuple) and isinstance(what[0], int):
            status, headers, body = what
            self._send(status, body.encode(), headers)
            return
        honest = completion(asked.verdict())
        if isinstance(what, tuple):
            content = json.dumps(honest).encode()
            self._send(200, content[: int(len(content) * what[1])], {}, length=len(content))
            self.close_connection = True
            return
        if what is None:
            self.judge.sold(asked)
        body = honest if what is None else completion(what) if isinstance(what, str) else what
        self._send(200, json.dumps(body).encode(), {})

    def _send(self, status: int, content: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""


@contextmanager
def serving(script: Script | None = None, port: int = 0) -> Iterator[FakeJudge]:
    """Serve on a port of this machine until the end of the block."""
    judge = FakeJudge() if script is None else FakeJudge(script)
    handler = type("Handler", (_Handler,), {"judge": judge})
    server = _Server(("127.0.0.1", port), handler)
    judge.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
