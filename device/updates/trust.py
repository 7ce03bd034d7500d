"""What this box trusts: a root that somebody put here, and from there on TUF (https://theupdateframework.github.io/specification/).

The client is python-tuf's; here are its limits, the floor of time, and its files: it works on a copy that takes the place of
what was trusted in one step, so that a power cut leaves the one or the other.
"""

# The package re-exports its names without saying so.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from device.errors import CheckError, HolonodeError, InputError, TransientError
from device.updates.downloads import DownloadLimits, bounded, fetch_file
from device.updates.files import read_small, sync, sync_tree
from device.updates.floor import TimeFloor
from device.updates.offers import ISSUED_AT, Custom, Offer
from device.updates.sources import UpdateSource

__all__ = ["UpdateTrust", "key_ids"]

log = logging.getLogger("holonode.updates")

_MOST_METADATA_BYTES = 2_000_000
_ROOT_BYTES = 512_000
_CONFIG = UpdaterConfig(
    max_root_rotations=64, root_max_length=_ROOT_BYTES, snapshot_max_length=_MOST_METADATA_BYTES, targets_max_length=_MOST_METADATA_BYTES
)  # fmt: skip


class UpdateTrust:
    """One party's trust: the service has one in its folder, root another that nobody else writes to."""

    def __init__(
        self, folder: Path, pinned: Path, *, floor: TimeFloor | None = None, limits: DownloadLimits | None = None
    ) -> None:
        """`pinned` holds the root metadata that a person put on this box."""
        self._folder, self._pinned, self._limits = folder, pinned, limits or DownloadLimits()
        self.floor = floor or TimeFloor(folder / "time.json")

    def refresh(self, source: UpdateSource) -> tuple[Offer, ...]:
        """What the newest signed list offers; CheckError where it can't be trusted, TransientError where it can't be had.

        Whatever was verified stays known also where the rest fails.
        """
        pinned = self._root()
        now = self.floor.now()
        copy = self._copied()
        try:
            updater = Updater(str(copy), "metadata/", fetcher=_Fetcher(source, self._limits), config=_CONFIG, bootstrap=pinned)
            # The package reads the wall clock and has no door for another time.
            updater._trusted_set.reference_time = now  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            updater.refresh()
            offers = _offers(copy, updater)
            issued = Metadata[Timestamp].from_file(str(copy / "timestamp.json")).signed.unrecognized_fields.get(ISSUED_AT)
        except (exceptions.RepositoryError, exceptions.DownloadError) as error:
            raise _explained(error, now) from error
        except OSError as error:
            raise TransientError("what is trusted can't be written", where=self._folder, got=str(error)) from error
        finally:
            self._keep(copy)
        if isinstance(issued, str):
            with contextlib.suppress(ValueError):
                self.floor.reach(datetime.fromisoformat(issued))
        return offers

    def fetch(self, offer: Offer, source: UpdateSource) -> Path:
        """The file of an offer, verified, in this party's folder."""
        target = self._folder / "targets" / offer.stored
        return fetch_file(
            source, f"targets/{offer.stored}", target, length_bytes=offer.length_bytes, sha256=offer.sha256, limits=self._limits
        )

    def forget_files(self, keep: Path | None = None) -> None:
        """Delete what was fetched, but for one file."""
        for file in (self._folder / "targets").glob("**/*"):
            if file.is_file() and file != keep:
                file.unlink()

    def _root(self) -> bytes:
        try:
            content = read_small(self._pinned, _ROOT_BYTES)
        except OSError as error:
            raise InputError("the root of trust can't be read", where=self._pinned, got=str(error)) from error
        if content is None:
            raise InputError(
                "this box trusts nobody's updates yet", where=self._pinned, expected="root metadata",
                remedy="Copy 1.root.json from the owner and run `holonode update trust FILE`.",
            )  # fmt: skip
        return content

    def _copied(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix="trusted-", dir=self._folder))
        copy.chmod(0o755)
        if (self._folder / "trusted").is_dir():
            shutil.copytree(self._folder / "trusted", copy, symlinks=True, dirs_exist_ok=True)
        return copy

    def _keep(self, copy: Path) -> None:
        """The copy, durable, in the place of what was trusted."""
        link, fresh = self._folder / "trusted", self._folder / "trusted.partial"
        before = link.resolve() if link.is_symlink() else None
        try:
            sync_tree(copy)
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(copy.name)
            fresh.replace(link)
            sync(self._folder)
        except OSError as error:
            shutil.rmtree(copy, ignore_errors=True)
            log.warning("what was verified can't be kept: %s", error)
            return
        if before is not None and before != copy.resolve():
            shutil.rmtree(before, ignore_errors=True)


class _Fetcher(FetcherInterface):
    """Metadata from one of our sources, bounded in length and time."""

    def __init__(self, source: UpdateSource, limits: DownloadLimits) -> None:
        self._source, self._limits = source, limits

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            _, chunks = self._source.open(url)
        except FileNotFoundError as error:
            raise exceptions.DownloadHTTPError(str(error), 404) from error
        return self._within(chunks)

    def _within(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from bounded(chunks, _MOST_METADATA_BYTES, self._limits)
        except OverflowError as error:
            raise exceptions.DownloadLengthMismatchError(str(error)) from error
        except TimeoutError as error:
            raise exceptions.SlowRetrievalError(str(error)) from error
        except OSError as error:
            raise exceptions.DownloadError(str(error)) from error


def _offers(copy: Path, updater: Updater) -> tuple[Offer, ...]:
    found: list[Offer] = []
    for name in sorted(Metadata[Targets].from_file(str(copy / "targets.json")).signed.targets):
        target = updater.get_targetinfo(name)
        if target is not None and (offer := _offer(name, target)) is not None:
            found.append(offer)
    return tuple(found)


def _offer(name: str, target: TargetFile) -> Offer | None:
    try:
        custom = msgspec.convert(target.custom or {}, Custom)
        return Offer(name=name, length_bytes=target.length, sha256=target.hashes["sha256"], custom=custom)
    except (msgspec.ValidationError, KeyError) as error:
        # A list may hold what a later version of this program understands.
        log.info("%s is nothing that this version can use: %s", name, error)
        return None


def _explained(error: exceptions.RepositoryError | exceptions.DownloadError, now: datetime) -> HolonodeError:
    """What python-tuf raises, for a person; the more special classes first."""
    where, got = "the signed list of updates", str(error)
    if isinstance(error, exceptions.ExpiredMetadataError):
        return CheckError(
            "the signed list of updates is out of date", got=f"{got}, it is {now:%Y-%m-%d %H:%M}Z",
            remedy="Its owner signs a new one (python -m deploy.signing timestamp), or the clock of this box is wrong.",
        )  # fmt: skip
    if isinstance(error, exceptions.BadVersionNumberError):
        return CheckError("older than what this box has seen already", where=where, got=got, remedy="It is not used.")
    if isinstance(error, exceptions.UnsignedMetadataError):
        return CheckError("not signed by the keys that this box trusts", where=where, got=got, remedy="It is not used.")
    if isinstance(error, exceptions.DownloadLengthMismatchError):
        return CheckError("longer than can be", where=where, got=got, remedy="It is not used.")
    if isinstance(error, exceptions.DownloadError):
        got = f"{got}: {error.__cause__}" if error.__cause__ else got
        return TransientError("the signed list of updates can't be had", got=got, remedy="Is the source there, and complete?")
    return CheckError("the signed list of updates is damaged or mixed", got=got, remedy="It is not used.")


def key_ids(root: bytes) -> tuple[str, ...]:
    """Of the keys that sign roots, in a root metadata file; InputError where it is none that is signed by itself."""
    try:
        metadata = Metadata[Root].from_bytes(root)
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (exceptions.RepositoryError, ValueError, AttributeError) as error:
        raise InputError("not a root of trust", expected="root metadata signed by its own keys", got=str(error)) from error
    return tuple(metadata.signed.roles[Root.type].keyids)
