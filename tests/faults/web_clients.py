"""Clients of a dashboard in a process of their own: `python -m tests.faults.web_clients watch|flood|half-open PORT COUNT COOKIE`.

Says "ready" once all are connected; at SIGTERM what it sent (of half-open ones: how many were opened), what was answered, and how
much of that was refused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
import time

_ELSEWHERE = 19
"""Niceness: real clients don't use the box's cores."""

_NEVER_READ = 8
"""Beside the half-open ones."""

counts = {"sent": 0, "answered": 0, "refused": 0, "events": 0}


def watch(port: int, cookie: str, ready: threading.Barrier) -> None:
    """One event stream, read to the last byte."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET /api/stream HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncookie: {cookie}\r\n\r\n".encode())
        counts["events"] += line.recv(65_536).count(b"event: ")
        ready.wait()
        while data := line.recv(65_536):
            counts["events"] += data.count(b"event: ")


def flood(port: int, cookie: str, ready: threading.Barrier) -> None:
    """Requests without a pause."""
    batch = f"GET /api/state HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncookie: {cookie}\r\n\r\n".encode() * 16
    ready.wait()
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            while True:
                line.sendall(batch)
                counts["sent"] += 16
                data = line.recv(262_144)
                counts["answered"] += data.count(b"HTTP/1.1 ")
                counts["refused"] += data.count(b"HTTP/1.1 429")
                if not data:
                    break


def half_open(port: int, count: int, ready: threading.Barrier) -> None:
    """Heads without an end, silent connections, and some that ask and ask and never read; those that are dropped come again."""
    lines = dict[int, socket.socket]()
    asking = b"GET /api/meanings HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 50
    for turn in itertools.count():
        for k in range(count + _NEVER_READ):
            try:
                if k not in lines:
                    lines[k] = socket.create_connection(("127.0.0.1", port), timeout=5)
                    lines[k].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    counts["sent"] += 1
                lines[k].settimeout(0.01)
                lines[k].sendall(b"" if k % 3 == 0 else asking if k >= count else b"GET / HTTP/1.1\r\n" if k % 3 == 1 else b"x")
            except TimeoutError:
                continue  # it takes no more: so it should be
            except OSError:
                if k in lines:
                    lines.pop(k).close()
        if turn == 0:
            ready.wait()
        time.sleep(0.5)


def main() -> int:
    kind, port, count, cookie = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.nice(_ELSEWHERE)
    works = (
        [(half_open, (port, count))]
        if kind == "half-open"
        else [({"watch": watch, "flood": flood}[kind], (port, cookie))] * count
    )
    ready, done = threading.Barrier(len(works) + 1), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    for work, asked in works:
        threading.Thread(target=work, args=(*asked, ready), daemon=True).start()
    ready.wait()
    print("ready", flush=True)
    done.wait()
    print(counts["sent"], counts["answered"], counts["refused"], counts["events"], flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
