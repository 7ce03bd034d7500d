"""A support bundle: what somebody far away needs to see what is wrong, without a secret in it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import os
import platform
import re
import zipfile
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from device import __version__
from device.config import Config
from device.identifiers import random_ulid

__all__ = ["FOLDER", "LogTail", "bundle_path", "scrubbed", "secrets_of", "write_bundle"]

FOLDER = "support"
"""In the store's folder."""
_MOST_BUNDLES = 3
"""Kept; the oldest make room."""
_MOST_LINES = 500
_LONGEST_LINE = 2000


_HIDDEN = "(hidden)"
_SHORTEST = 4
"""Characters: less would take words out of the text that are none."""
_TELLING = re.compile(r"passw|passphrase|passcode|secret|token|credential|psk|api_?key|private_?key", re.IGNORECASE)
_LOOKS_SECRET = (
    # A key, to its end or as far as it was kept.
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:[A-Za-z0-9+/=\s]|\\n)*(?:-----END [A-Z0-9 ]*-----)?"), _HIDDEN),
    (re.compile(r"(?<=://)[^\s/@\"']+(?=@)"), _HIDDEN),
    (re.compile(r"(?i)\b((?:proxy-)?authorization|set-cookie|cookie)(\W{1,4})(?!\W)[^\r\n\"]+"), rf"\1\2{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+(?=(?-i:\S*[0-9A-Z=]))[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            r"(?i)([\w.-]*(?:passw(?:or)?d|passphrase|passcode|secret|token|psk|api[_-]?key|private[_-]?key)[\w.-]*"
            r"[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}\])]+"
        ),
        rf"\1{_HIDDEN}",
    ),
)
"""Patterns, and what stands in their place."""


class LogTail(logging.Handler):
    """The last lines that were logged or said."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._lines.append(self.format(record)[:_LONGEST_LINE])

    def add(self, line: str) -> None:
        """One that was said."""
        self._lines.append(line[:_LONGEST_LINE])

    def text(self) -> str:
        """All of them."""
        return "".join(f"{line}\n" for line in list(self._lines))


def bundle_path(folder: Path, bundle_id: str) -> Path:
    """Where the bundle of an id lies in the store."""
    return folder / FOLDER / f"{bundle_id}.zip"


def write_bundle(
    folder: Path, parts: Mapping[str, object], log_tail: str, records: list[bytes], secrets: Collection[str] = ()
) -> Path:
    """Write `support-<ULID>.zip` into the store: a JSON file for each of `parts`, records.jsonl, log.txt, versions.json.

    Nothing in it holds one of the `secrets`, nor what looks like one.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in {**parts, "versions": _versions()}.items():
            told = _without_secrets(msgspec.json.decode(msgspec.json.encode(content)), secrets)
            bundle.writestr(f"{name}.json", msgspec.json.format(msgspec.json.encode(told)))
        told = [_without_secrets(msgspec.json.decode(record), secrets) for record in records]
        bundle.writestr("records.jsonl", b"".join(msgspec.json.encode(record) + b"\n" for record in told))
        bundle.writestr("log.txt", scrubbed(log_tail, secrets))
    path = bundle_path(folder, f"support-{random_ulid()}")
    path.parent.mkdir(exist_ok=True)
    older = sorted(path.parent.glob("support-*.zip"))
    for old in older[: max(len(older) - _MOST_BUNDLES + 1, 0)]:
        old.unlink(missing_ok=True)
    partial = path.parent / ".partial"
    partial.write_bytes(packed.getvalue())
    partial.replace(path)
    return path


def secrets_of(config: Config) -> frozenset[str]:
    """What this box keeps to itself, as it stands in its settings, files and environment."""
    found = {config.mqtt.username, *re.findall(r"//([^/@\s]+)@", config.mqtt.url)}
    found |= {part for pair in list(found) for part in pair.split(":")}
    for name, value in os.environ.items():
        if _TELLING.search(name):
            found.add(value)
    if config.mqtt.password_file:
        with contextlib.suppress(OSError):
            found.add(Path(config.mqtt.password_file).expanduser().read_text(encoding="utf-8", errors="replace").strip())
    return frozenset(secret for secret in found if len(secret) >= _SHORTEST)


def _without_secrets(value: Any, secrets: Collection[str]) -> Any:
    """A JSON value, its texts scrubbed; what stands under a name that tells of a secret is hidden whole."""
    match value:
        case str():
            return scrubbed(value, secrets)
        case list():
            return [_without_secrets(one, secrets) for one in value]
        case dict():
            return {
                key: _HIDDEN if isinstance(one, str) and one and _TELLING.search(key) else _without_secrets(one, secrets)
                for key, one in value.items()
            }
        case _:
            return value


def scrubbed(text: str, secrets: Collection[str] = ()) -> str:
    """A text without `secrets`, as they are or as JSON and URLs write them, and without what looks like a secret."""
    forms = {
        form for secret in secrets for form in (secret, msgspec.json.encode(secret).decode()[1:-1], quote(secret, safe=""))
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _HIDDEN)
    for pattern, hidden in _LOOKS_SECRET:
        text = pattern.sub(hidden, text)
    return text


def _versions() -> dict[str, object]:
    packages = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {
        "holonode": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }
