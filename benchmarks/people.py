"""What a back-end does with very many connected users: send to some, list them, kick them all."""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import servers
from benchmarks.crowd import Crowd, gathered
from benchmarks.generator import BenchmarkError
from benchmarks.measures import Figures, Sizes

SPARE = 100  # files that the server needs beside connections
PATIENCE_S = 120.0
PAGE = 1000
NAMED = 1000


class Api:
    """One connection with the service's key."""

    def __init__(self, server: servers.Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        self._key = server.key

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """The answer's JSON, or BenchmarkError."""
        headers = {"Authorization": f"Bearer {token or self._key}"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise BenchmarkError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)


def people(sizes: Sizes, scratch: Path) -> Figures:
    """Two sessions of each user: WebSockets, as many as there may be files; the rest polls."""
    users = [f"user{number:05}" for number in range(sizes.people)]
    sessions = [(user, device) for device in ("phone", "laptop") for user in users]
    with servers.pushd(scratch) as server, gathered(server.port, server.secret) as crowd:
        api = Api(server)
        api.ask("POST", "/v1/publish", {"to": {"all": True}, "message": {"data": "hello"}})
        sockets = sessions[: _most_sockets()]
        began = time.monotonic()
        crowd.join(sockets)
        opened = len(sockets) / (time.monotonic() - began)
        for user, device in sessions[len(sockets) :]:
            _poll(api, crowd, user, device)
        stats = api.ask("GET", "/v1/stats")
        if (stats["sessions"], stats["users"]) != (len(sessions), len(users)):
            raise BenchmarkError(f"people: {stats['sessions']} sessions, {stats['users']} users")
        figures = {"sessions": float(len(sessions)), "of which WebSockets": float(len(sockets))}
        figures |= {"sessions opened/s": opened}
        spent = _cpu_s(server)
        figures |= _send(api, crowd, users, Counter(user for user, _ in sockets), sizes.publishes)
        each = (_cpu_s(server) - spent) / (2 * sizes.publishes)
        figures |= {"CPU ms/send, hints included": each * 1e3}
        figures |= _list(api, len(users), len(sessions))
        return figures | _kick(server, api, crowd, users, len(sessions))


def _most_sockets() -> int:
    """Of a server that keeps a tenth of its files for itself."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 0.9) - SPARE


def _cpu_s(server: servers.Server) -> float:
    """Processor time of the server so far, all threads, user and system."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _poll(api: Api, crowd: Crowd, user: str, device: str) -> None:
    """There is something, so that it is answered at once; the device counts for a minute."""
    body = {"cursors": {"all": "0"}, "mine": True, "wait": 1}
    api.ask("POST", "/v1/pull", body, crowd.token(user, device))


def _send(api: Api, crowd: Crowd, users: list[str], sockets: Counter[str], rounds: int) -> Figures:
    """To a thousand users by name: other ones each time, then the same again."""
    new, known = [], []
    for turn in range(rounds * 2):
        named = users[turn % rounds :: max(len(users) // NAMED, 1)][:NAMED]
        new_or_known = new if turn < rounds else known
        new_or_known.append(_send_once(api, crowd, named, sum(sockets[user] for user in named)))
    return {
        "send to 1,000, ms": median(acked for acked, _ in known) * 1e3,
        "their first message, ms": median(acked for acked, _ in new) * 1e3,
        "slowest of them, ms": max(acked for acked, _ in (*new, *known)) * 1e3,
        "until all were hinted, ms": median(told for _, told in known) * 1e3,
    }


def _send_once(api: Api, crowd: Crowd, named: list[str], sockets: int) -> tuple[float, float]:
    """From the request to the answer, and to the last of so many hints."""
    wanted = crowd.hints + sockets
    body = {"to": {"users": named}, "message": {"data": {"text": "hello"}}}
    began = time.monotonic()
    results = api.ask("POST", "/v1/publish", body)["results"]
    acked = time.monotonic() - began
    if len(results) != len(named) or not all(result["online"] for result in results):
        raise BenchmarkError("people: not everybody who was sent to is online")
    crowd.watch(lambda: crowd.hints == wanted, PATIENCE_S, "hints")
    return acked, time.monotonic() - began


def _list(api: Api, users: int, sessions: int) -> Figures:
    """Page by page: a page, the slowest."""
    online = _pages(api, f"/v1/users?online=true&limit={PAGE}", users)
    live = _pages(api, f"/v1/sessions?limit={PAGE}", sessions)
    return {
        "slowest page of users online, ms": max(online) * 1e3,
        "slowest page of sessions, ms": max(live) * 1e3,
    }


def _pages(api: Api, path: str, expected: int) -> list[float]:
    took, found, following = [], 0, ""
    while following is not None:
        began = time.monotonic()
        answer = api.ask("GET", f"{path}&next={following}" if following else path)
        took.append(time.monotonic() - began)
        found += len(answer["items"])
        following = answer["next"]
    if found != expected:
        raise BenchmarkError(f"{path}: {found} of {expected}")
    return took


def _kick(
    server: servers.Server, api: Api, crowd: Crowd, users: list[str], sessions: int
) -> Figures:
    """Everybody is in one group, which is kicked; somebody else asks for something meanwhile."""
    began = time.monotonic()
    api.ask("POST", "/v1/groups/everybody/members", {"add": users})
    joined = time.monotonic() - began
    answers: list[tuple[float, Any]] = []

    def kick() -> None:
        kicked = api.ask("DELETE", "/v1/groups/everybody/sessions?reconnect=true")
        answers.append((time.monotonic() - began, kicked))

    sockets, spent = crowd.open, _cpu_s(server)
    with pulse(server.port) as beats:
        began = time.monotonic()
        thread = threading.Thread(target=kick)
        thread.start()
        told = crowd.watch(lambda: crowd.goodbyes == sockets, PATIENCE_S, "goodbyes")
        crowd.watch(lambda: not crowd.open, PATIENCE_S, "connections to close")
        gone = time.monotonic() - began
        thread.join()
        each = (_cpu_s(server) - spent) / sessions
        result = beats()
    [(answered, kicked)] = answers
    if kicked["kicked"] != sessions:
        raise BenchmarkError(f"people: {kicked['kicked']} of {sessions} were kicked")
    left = api.ask("GET", "/v1/stats")["sessions"]
    if left:
        raise BenchmarkError(f"people: {left} sessions are still there")
    return {
        "10,000 join a group, s": joined,
        "everybody kicked, s": gone,
        "kick answered, s": answered,
        "last goodbye, s": told,
        "CPU µs/kick": each * 1e6,
        "longest wait of others meanwhile, ms": result["max_s"] * 1e3,
    }


@contextmanager
def pulse(port: int) -> Iterator[Callable[[], Any]]:
    """Asks all the time; call what is yielded to end it and have the figures."""
    command = [sys.executable, "-m", "benchmarks.pulse", str(port)]
    with subprocess.Popen(
        command, cwd=servers.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        ends, answers = process.stdin, process.stdout

        def end() -> Any:
            ends.close()
            return json.loads(answers.readline())

        try:
            yield end
        finally:
            process.kill()
