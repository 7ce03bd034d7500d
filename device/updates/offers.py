"""What a signed list offers: releases for an architecture and a Python, and models."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["ISSUED_AT", "Custom", "Offer", "newest_release", "release_key"]

ISSUED_AT = "x-holonode-issued-at"
"""Field of the timestamp: when it was signed, RFC 3339; beside the expiry that TUF knows."""

_Version = Annotated[str, Meta(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}([A-Za-z0-9.+-]{0,32})$", max_length=64)]
_Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")]


class Custom(Struct, frozen=True, kw_only=True):
    """What the owner says of a file, signed with it."""

    kind: Literal["release", "model"]
    """Bundle of the program, or of one model."""
    name: _Word = "holonode"
    """Of the model."""
    version: _Version
    """Of the release or the model."""
    arch: _Word = ""
    """Of a release: the processor, e.g. aarch64."""
    python: _Word = ""
    """Of a release: the Python it is for, e.g. 3.11."""


class Offer(Struct, frozen=True, kw_only=True):
    """One signed file."""

    name: str
    """In the list, e.g. releases/holonode-1.2.0-aarch64-cp311.tar."""
    length_bytes: int
    sha256: str
    custom: Custom

    @property
    def stored(self) -> str:
        """Its file's name at the source, below targets/: the digest stands in it (TUF, consistent snapshots)."""
        path = PurePosixPath(self.name)
        return str(path.with_name(f"{self.sha256}.{path.name}"))


def release_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """By which releases are ordered: 1.2.0 comes after 1.2.0.dev3 and before 1.10.0."""
    numbers = version.split(".", 3)
    last = numbers[2]
    digits = last[: len(last) - len(last.lstrip("0123456789"))]
    rest = last[len(digits) :] + ".".join(numbers[3:])
    return (int(numbers[0]), int(numbers[1]), int(digits)), not rest, rest


def newest_release(offers: tuple[Offer, ...], *, arch: str, python: str) -> Offer | None:
    """The newest release for this processor and Python."""
    fitting = [one for one in offers if one.custom.kind == "release" and (one.custom.arch, one.custom.python) == (arch, python)]
    return max(fitting, key=lambda one: release_key(one.custom.version), default=None)
