"""Clients of a dashboard in a process of their own: `python -m tests.faults.web_clients watch|flood PORT COUNT COOKIE`.

Says "ready" once all are connected; at SIGTERM what it sent, what was answered, and how much of that was refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading

_ELSEWHERE = 19
"""Niceness: real clients don't use the box's cores."""

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


def main() -> int:
    kind, port, count, cookie = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.nice(_ELSEWHERE)
    ready, done = threading.Barrier(count + 1), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    for _ in range(count):
        threading.Thread(target={"watch": watch, "flood": flood}[kind], args=(port, cookie, ready), daemon=True).start()
    ready.wait()
    print("ready", flush=True)
    done.wait()
    print(counts["sent"], counts["answered"], counts["refused"], counts["events"], flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
