"""A pure-Python broker on loopback, for machines without mosquitto: `python -m device.messaging.embedded PORT FOLDER`.

FOLDER names the store that it is for, to whoever looks at the process. MQTT 3.1.1 only, and sessions are not kept: a demonstration's broker, not a deployment's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Any

__all__ = ["main"]


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    settings: dict[str, Any] = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(settings)
    await broker.start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    with contextlib.suppress(asyncio.CancelledError):
        await broker.shutdown()


def main(port: int) -> None:
    """Serve until ended."""
    asyncio.run(_serve(port))


if __name__ == "__main__":
    main(int(sys.argv[1]))
