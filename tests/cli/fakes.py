"""A small server that speaks the protocol's words, for the commands that talk to one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from click.testing import CliRunner, Result

from pushd.cli import main

EPOCH = "000000aaa"
KEY = "dev_" + "k" * 32


class Server(ThreadingHTTPServer):
    """Channels as lists, in the protocol's words; WebSockets are refused, so clients poll.

    A poll that would have to be held is the end: it answers 401, which ends a tail.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.logs: dict[str, list[dict[str, Any]]] = {}
        self.script: list[tuple[int, dict[str, Any]]] = []
        self.pulls: list[dict[str, Any]] = []  # answers of the first of those
        self.seen: list[tuple[str, str, Any, str]] = []

    def publish(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        log = self.logs.setdefault(channel, [])
        seq = len(log) + 1
        message.setdefault("id", f"{EPOCH}.{seq}")
        log.append({"seq": seq, "type": "message", "at": 1_700_000_000_000, **message})
        return {"channel": channel, "epoch": EPOCH, "seq": seq, "id": message["id"], "at": 1}

    def page(self, channel: str, after: str, limit: int) -> dict[str, Any]:
        log = self.logs.get(channel, [])
        start = len(log) if after == "head" else int(after.rpartition(".")[2])
        found = log[start : start + limit]
        upto = start + len(found)
        return {
            "channel": channel, "epoch": EPOCH, "first": 1, "head": len(log),
            "next": f"{EPOCH}.{upto}", "more": upto < len(log), "messages": found,
        }  # fmt: skip

    def answer(self, method: str, target: str, body: Any) -> tuple[int, dict[str, Any]]:
        if self.script:
            return self.script.pop(0)
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = [unquote(part) for part in parts.path.split("/")[2:]]
        if method == "POST" and path[0] == "channels":
            return 201, self.publish(path[1], body)
        if path == ["pull"] and self.pulls:
            return 200, self.pulls.pop(0)
        if path == ["publish"]:
            names = [f"user:{each}" for each in body["to"].get("users", [])]
            names += body["to"].get("channels", [])
            return 200, {"results": [self.publish(each, dict(body["message"])) for each in names]}
        if path == ["pull"]:
            pages = {
                name: self.page(name, after, body["limit"])
                for name, after in body["cursors"].items()
            }
            if body.get("wait") and not any(page["messages"] for page in pages.values()):
                return 401, {"code": "unauthorized", "detail": "The end."}
            return 200, {"channels": pages, "notices": []}
        if path == ["channels"]:
            names = [name for name in self.logs if name.startswith(query.get("prefix", ""))]
            items = [
                {"channel": name, "epoch": EPOCH, "first": 1, "head": len(self.logs[name])}
                for name in names
            ]
            return 200, {"items": items, "next": None}
        if path[0] == "channels":
            if "last" in query:
                after = max(0, len(self.logs.get(path[1], [])) - int(query["last"]))
                return 200, {**self.page(path[1], f"{EPOCH}.{after}", 1000), "more": after > 0}
            return 200, self.page(path[1], query["after"], int(query.get("limit", 100)))
        return 404, {"code": "not_found", "detail": "nothing here"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        authorization = self.headers["Authorization"] or ""
        self.server.seen.append((self.command, self.path, body, authorization))
        status, answer = self.server.answer(self.command, self.path, body)
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(server: Server | None, *arguments: str, stdin: bytes | None = None, **env: str) -> Result:
    where = {} if server is None else {"PUSHD_URL": server.url}
    credentials = {"PUSHD_API_KEY": KEY, "PUSHD_TOKEN": "client-token"}
    return CliRunner().invoke(main, list(arguments), input=stdin, env=where | credentials | env)
