"""Records that nobody should publish: right ones, bent in what they hold, how it is written, and where it is published."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from device.identifiers import random_ulid
from device.records import iso_time
from tests.earlier import as_earlier

__all__ = ["BENDS", "Message", "bent", "good", "record"]

_START = datetime(2026, 5, 4, tzinfo=UTC)
_KINDS = ("detections", "intervals", "events")
_NUMBERS = (
    "0", "-1", "-0", "0.0", "1e308", "-1e308", "1e999", "-1e999", "1e-999", "1e-16000", "1e400000", "1E+9999999999", "3000000000", "1e12", "1e30", "1.1e30",
    "9007199254740991", "9007199254740992", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 400,
    "9" * 5000, "0." + "0" * 400 + "1", "NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "0x10", "1_000", "5e-324", "1e1",
)  # fmt: skip
_STRINGS = (
    '""', '"\\u0000"', '"a\\u0000b"', '"\\\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"NaN"', '"Infinity"', '"infinity"', '"now"',
    '"epoch"', '"null"', '"\\u001b[2J"', '"\\u202e"', '"\';--"', '"{}"', '"' + "x" * 300 + '"', '"' + "x" * 20_000 + '"', '"a\nb"', '"\x00"', '"=1+1"', "'a'",
)  # fmt: skip
_OTHERS = (
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    '{"a":{"b":[]}}',
    '["total"]',
    '{"total":3}',
    '{"total":{"n":"many"}}',
    "",
    "[1,]",
)
_TIMES = (
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00Z", "294277-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z", "2026-05-04T25:00:00Z", "2026-05-04T23:59:60Z", "2026-05-04", "2026-W19-1", "20260504T000000Z", "infinity", "-infinity",
    "epoch", "now", "2026-05-04T00:00:00+99:00", "0001-01-01T00:00:00+14:00", "2026-05-04T00:00:00.0000000000000001Z", "4714-11-24 BC",
    "1899-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z", "2026-05-04T00:00:00Z\\n",
)  # fmt: skip
_SCHEMAS = (
    "holonode.event/3", "holonode.detection/3", "holonode.interval/3", "holonode.event/1", "holonode.detection/9999", "holonode.detection/10000", "holonode.event/0",
    "holonode.event/01", "holonode.event/", "holonode.event", "", "x" * 1000, "holonode.event/1 ", "other.event/1",
)  # fmt: skip
_DEEP = (31, 32, 33, 100, 500, 900, 990, 1000, 1100, 3000, 20_000)


@dataclass(frozen=True)
class Message:
    """As it is published."""

    topic: str
    payload: bytes
    bend: str = ""


def record(kind: str, device_id: str, seq: int, spool_id: str = "s") -> dict[str, Any]:
    """As a sampler writes it."""
    at = iso_time(_START + timedelta(seconds=seq))
    head = {"device_id": device_id, "spool_id": spool_id, "seq": seq, "schema": f"holonode.{kind[:-1]}/2", "id": random_ulid()}
    clock = {"source": "ntp", "synchronised": True, "uncertainty_s": 0.01}
    made_by = {"calibration_id": "cal", "config_hash": "c" * 16, "pipeline_id": "p" * 16, "qc": 1, "historical": False}
    if kind == "events":
        return head | {"code": "test", "severity": "info", "message": f"number {seq}", "value": 0.5, "unit": "m", "since": at}
    if kind == "intervals":
        counts = {label: {"n": seq % 7, "low": 0.0, "high": 9.5} for label in ("birch", "total")}
        concentration = {"birch": {"value": 120.5, "low": 80.0, "high": 170.25, "unit": "m^-3"}}
        return head | {
            "started_at": at, "ended_at": iso_time(_START + timedelta(seconds=seq + 20)), "clock": clock, "mode": "impactor", "volume_m3": 0.013,
            "volume_uncertainty": 0.05, "dead_time_s": 0.25, "frames": {"captured": 1, "analysed": 1, "dropped": 0},
            "counts": counts, "concentration": concentration,
        } | made_by  # fmt: skip
    return head | {
        "interval_id": "i", "captured_at": at, "clock": clock, "frame": 3, "x_um": 10.5, "y_um": 20.25, "z_um": 500.0, "z_uncertainty_um": 5.0,
        "bbox_px": [1, 2, 9, 8], "esd_um": 20.5, "esd_uncertainty_um": 1.0, "features": {"area_um2": 330.0, "circularity": 0.9},
        "label": "birch", "score": 0.8, "probabilities": {"birch": 0.8, "dust": 0.2}, "prediction_set": ["birch"],
        "consistency": {"chi2": 1.1, "p": 0.4, "flag": 1}, "models": {"classifier": {"name": "bioaerosol", "version": "1.2.0", "sha256": "c" * 64}}, "media_id": None,
    } | made_by  # fmt: skip


def good(device_id: str, seq: int) -> Message:
    """A right one; each device has all kinds in turn."""
    kind = _KINDS[seq % 3]
    return Message(f"holonode/v1/{device_id}/{kind}", msgspec.json.encode(record(kind, device_id, seq)))


# -- bends: each makes of a right record and its topic what somebody could publish -----------------------------------------

Bend = Callable[[random.Random, dict[str, Any], str], tuple[str, bytes]]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, item in inner for found in ((*path, name), *_paths(item, (*path, name)))]


def _with(rng: random.Random, right: dict[str, Any], text: str, only: tuple[str, ...] = ()) -> bytes:
    """The record with a JSON text in the place of one of its values, at whatever depth."""
    paths = [path for path in _paths(right) if not only or path[-1] in only]
    holder: Any = right
    *way, last = rng.choice(paths)
    for step in way:
        holder = holder[step]
    holder[last] = "@here@"
    return json.dumps(right).replace('"@here@"', text).encode("utf-8", "surrogatepass")


def _number(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    return topic, _with(rng, right, rng.choice(_NUMBERS))


def _string(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    return topic, _with(rng, right, rng.choice(_STRINGS))


def _type(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    return topic, _with(rng, right, rng.choice(_OTHERS))


def _flag_or_count(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    return topic, _with(
        rng, right, rng.choice((*_NUMBERS, *_OTHERS, '"1"')), ("seq", "qc", "n", "flag", "counts", "total", "value")
    )


def _time(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    return topic, _with(rng, right, f'"{rng.choice(_TIMES)}"', ("captured_at", "started_at", "ended_at", "since"))


def _schema(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    right["schema"] = rng.choice((*_SCHEMAS, None, 1, ["holonode.event/1"]))
    return topic, _with(rng, right, rng.choice((*_NUMBERS, *_OTHERS))) if rng.random() < 0.5 else json.dumps(right).encode()


def _newer(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    right["schema"] = right["schema"][:-1] + rng.choice("23456789")
    return topic, _with(rng, right, rng.choice((*_NUMBERS, *_STRINGS, *_OTHERS)))


def _deep(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    depth = rng.choice(_DEEP)
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    deep = opened * depth + "1" + closed * (depth if rng.random() < 0.8 else rng.randrange(depth))
    if rng.random() < 0.3:
        return topic, deep.encode()
    return topic, _with(rng, right | {"more": None}, deep)


@functools.cache
def _lumps() -> tuple[str, ...]:
    """Of a thousand to half a million characters, made once."""
    sizes = [int(10 ** (3.0 + 0.3 * step)) for step in range(10)]
    texts = [
        ['"' + "x" * size + '"', json.dumps(["x"] * (size // 5)), json.dumps({f"k{k}": 1 for k in range(size // 9)})]
        for size in sizes
    ]
    return tuple(text for of_size in texts for text in of_size)


def _large(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    # Smaller ones more often: the larger ones are all refused alike.
    lumps = _lumps()
    lump = lumps[int(len(lumps) * rng.random() ** 2)]
    return topic, _with(rng, right | {"more": None}, lump, ("more", "features", "message", "label", "counts"))


def _twice(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    """Duplicate keys."""
    name = rng.choice((*right, "device_id", "spool_id", "seq", "schema", "qc"))
    other = rng.choice(
        ('"neighbour"', '"box-good-0"', "7", "null", "1e999", json.dumps(right.get(name)), '"s"', '"holonode.event/2"')
    )
    text = json.dumps(right)
    again = f'"{name}": {other}'
    return topic, (f"{{{again}, {text[1:]}" if rng.random() < 0.5 else f"{text[:-1]}, {again}}}").encode()


def _encoding(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    text = json.dumps(right | {"label": "Größe \U0001f4a3"}, ensure_ascii=False)
    code = rng.choice(("utf-16", "utf-32-le", "utf-8-sig", "latin-1", "cp037", "utf-7"))
    return topic, text.encode(code, "replace")


def _bytes(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    body = bytearray(json.dumps(right).encode())
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(body))
        match rng.randrange(4):
            case 0:
                body[at] ^= 1 << rng.randrange(8)
            case 1:
                del body[at : at + rng.randrange(1, 30)]
            case 2:
                body[at:at] = body[at : at + rng.randrange(1, 60)]
            case _:
                body[at:at] = rng.randbytes(rng.randrange(1, 5))
        body = body or bytearray(b"{")
    return topic, bytes(body)


def _noise(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    whole = json.dumps(right).encode()
    return topic, rng.choice(
        (b"", b"null", b"[]", b"{}", b"\0" * 100, rng.randbytes(200), whole[: rng.randrange(len(whole))], whole * 2)
    )


def _missing(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    for name in rng.sample(sorted(right), rng.randrange(1, 4)):
        del right[name]
    return topic, json.dumps(right).encode()


def _place(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    root, _, leaf = topic.rpartition("/")
    device = root.rpartition("/")[2]
    odd = rng.choice(
        (
            f"{device}\n",
            "",
            " ",
            "é\U0001f4a3",
            "'; DROP TABLE records",
            "x" * 5000,
            "..",
            "%s",
            "{}",
            "\x01",
            "neighbour",
            "\udcff",
        )
    )
    return rng.choice((
        f"holonode/v1/{odd}/{leaf}", f"holonode/v1/{odd}/{leaf}", f"{root}/{rng.choice(_KINDS)}", f"{root}/health", f"{root}/{leaf}/x", leaf,
    )), json.dumps(right | ({"device_id": odd} if rng.random() < 0.5 else {})).encode()  # fmt: skip


def _same_key(rng: random.Random, right: dict[str, Any], topic: str) -> tuple[str, bytes]:
    """Another content under a number that is taken, or the same with other stamps."""
    right["seq"] = rng.randrange(1, 200)
    right["id"] = rng.choice("abc")
    if "clock" in right:
        right["clock"]["synchronised"] = rng.random() < 0.5
    return topic, json.dumps(right).encode()


BENDS: tuple[Bend, ...] = (
    _number, _string, _type, _flag_or_count, _time, _schema, _newer, _deep, _large, _twice, _encoding, _bytes, _noise, _missing, _place, _same_key,
)  # fmt: skip


def bent(rng: random.Random, device_id: str, seq: int) -> Message:
    """Some box's, in some way."""
    kind, bend = rng.choice(_KINDS), rng.choice(BENDS)
    right = record(kind, device_id, seq)
    if rng.random() < 0.5:
        right = msgspec.json.decode(as_earlier(msgspec.json.encode(right)))
    topic, payload = bend(rng, right, f"holonode/v1/{device_id}/{kind}")
    return Message(topic, payload, bend.__name__.strip("_"))
