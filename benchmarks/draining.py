"""Clients that take files from a server and drop them, many in one process, for ``serving.py``.

    python -m benchmarks.draining '{"url": …, "clients": 32, "seconds": 2, "size": …}'

The bytes are dropped inside the kernel (``MSG_TRUNC`` on a TCP socket copies nothing, tcp(7)), so that a client costs
far less than any server and the server alone decides how fast it goes. Prints JSON: ``bytes`` that came within
``seconds``, ``answers`` that were whole, how many clients ``starved`` without a byte, and ``failures`` in words. With
``rate``, every client takes so many bytes per second and no more, through a small window, as a machine with a slow disk
does. With ``range``, each request is for so many bytes at a place of its own.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

_MOST = 1 << 26  # bytes to drop with one call: more than any socket holds
_SLOW_WINDOW = 1 << 18
_TICK = 0.01
# How long the last connections may take to begin: a server that has not answered then has not served.
_PATIENCE = 10.0


class Client:
    """One client: asks, drops what comes, asks again."""

    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.taken = 0
        self.answers = 0
        self.failures: list[str] = []
        self._plan = plan
        self._random = random.Random(number)
        self._address = urlsplit(plan["url"])
        self._left = 0
        self._head = b""
        self._keep = True
        self._open()

    def _open(self) -> None:
        self.socket = socket.socket()
        if self._plan.get("rate"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_WINDOW)
        self.socket.settimeout(_PATIENCE)
        self.socket.connect((self._address.hostname, self._address.port))
        self._ask()
        self.socket.settimeout(0)

    def _ask(self) -> None:
        lines = [f"GET {self._address.path} HTTP/1.1", f"Host: {self._address.netloc}", "Accept: */*"]
        if length := self._plan.get("range"):
            first = self._random.randrange(self._plan["size"] - length)
            lines.append(f"Range: bytes={first}-{first + length - 1}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._head = b""

    def take(self, most: int) -> int:
        """Drop up to ``most`` bytes that have come; say how many."""
        try:
            return self._take(most)
        except BlockingIOError:
            return 0
        except OSError as error:
            return self._fail(str(error))

    def _take(self, most: int) -> int:
        if self._left == 0:
            return self._read_head()
        got = self.socket.recv_into(_NOTHING, min(most, self._left, _MOST), socket.MSG_TRUNC)
        if got == 0:
            return self._fail(f"broke off, {self._left} bytes missing")
        self.taken += got
        self._left -= got
        if self._left == 0:
            self.answers += 1
            if not self._keep:
                self.socket.close()
                self._open()
                return -1
            self._ask()
        return got

    def _read_head(self) -> int:
        # The head is looked at and left, then taken exactly, so that no byte of the body is copied.
        seen = self.socket.recv(1 << 14, socket.MSG_PEEK)
        if not seen:
            return self._fail("no answer")
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = self.socket.recv(end + 4).decode("latin-1").lower()
        status = int(head.split(maxsplit=2)[1])
        if status != (206 if self._plan.get("range") else 200):
            return self._fail(f"status {status}")
        fields = dict(line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
        self._left = int(fields["content-length"])
        self._keep = fields.get("connection", "").strip() != "close"
        return 0

    def _fail(self, what: str) -> int:
        self.failures.append(what)
        self.socket.close()
        return -1


_NOTHING = bytearray(_MOST)


def drain(plan: dict[str, Any]) -> dict[str, Any]:
    """Let the clients run for as long as the plan says."""
    clients = [Client(plan, number) for number in range(plan["clients"])]
    began = time.perf_counter()
    (_drain_slowly if plan.get("rate") else _drain_at_once)(clients, plan, began)
    took = time.perf_counter() - began
    failures = [what for client in clients for what in client.failures]
    return {
        "bytes": sum(client.taken for client in clients),
        "seconds": took,
        "answers": sum(client.answers for client in clients),
        "starved": sum(client.taken == 0 for client in clients),
        "failures": failures[:5],
    }


def _drain_at_once(clients: list[Client], plan: dict[str, Any], began: float) -> None:
    with select.epoll() as poll:
        by_number = {}
        for client in clients:
            by_number[client.socket.fileno()] = client
            poll.register(client.socket, select.EPOLLIN)
        while by_number and (left := began + plan["seconds"] - time.perf_counter()) > 0:
            for number, _ in poll.poll(left):
                client = by_number[number]
                if client.take(_MOST) < 0:
                    del by_number[number]
                    if client.socket.fileno() >= 0:
                        by_number[client.socket.fileno()] = client
                        poll.register(client.socket, select.EPOLLIN)


def _drain_slowly(clients: list[Client], plan: dict[str, Any], began: float) -> None:
    alive = list(clients)
    while alive and (now := time.perf_counter()) < began + plan["seconds"]:
        for client in list(alive):
            due = int((now - began) * plan["rate"]) - client.taken
            if due > 0 and client.take(due) < 0 and client.socket.fileno() < 0:
                alive.remove(client)
        time.sleep(max(0.0, now + _TICK - time.perf_counter()))


def main() -> None:
    """Drain, and say what came."""
    print(json.dumps(drain(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
