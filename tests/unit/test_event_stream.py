"""What a slow watcher hears: the newest of every field, and each of what must not be passed over."""

from __future__ import annotations

import asyncio
import json

from device.web.serving.event_stream import ServerSentEvent, _Watcher


def _heard(text: bytes) -> list[tuple[str, object]]:
    blocks = [block.split(b"\n") for block in text.split(b"\n\n") if block]
    return [(kind.decode().removeprefix("event: "), json.loads(data.removeprefix(b"data: "))) for kind, data in blocks]


def test_of_a_field_the_newest_is_told_and_no_other_field_is_lost() -> None:
    async def told() -> bytes:
        watcher = _Watcher()
        watcher.give(ServerSentEvent("state", {"doing": b'"waiting"', "link": b'"lost"'}))
        watcher.give(ServerSentEvent("event", {"code": b'"first"'}, replaces=False))
        watcher.give(ServerSentEvent("state", {"doing": b'"sampling"'}))
        watcher.give(ServerSentEvent("event", {"code": b'"second"'}, replaces=False))
        watcher.give(ServerSentEvent("look", {"id": b'"1"'}))
        return await watcher.take()

    assert _heard(asyncio.run(told())) == [
        ("event", {"code": "first"}), ("event", {"code": "second"}),
        ("state", {"doing": "sampling", "link": "lost"}), ("look", {"id": "1"}),
    ]  # fmt: skip
