"""What changes the store: bundles installed, activated, rolled back.

One change at a time: a lock on the folder. A bundle is staged in a folder of its own, verified there, and moved in with its
manifest last, so a reader sees a whole bundle or none. What a killed change leaves behind is never taken for a bundle; the
next change clears it away.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, cast

import msgspec

from device.errors import CheckError, HolonodeError, InputError
from device.inference.bounds import BYTES as _LIMITS
from device.inference.bounds import load_manifest, version_key
from device.inference.manifest import Manifest
from device.inference.store import (
    ACTIVE_FILE,
    Activation,
    ModelBundle,
    ModelStore,
    checked,
    manifest_digest,
    verify_golden_in_child,
)
from device.inference.tasks.kinds import task_kind
from device.optics.geometry import Geometry

__all__ = ["Change", "activate", "install", "rollback"]

_MB = 2**20
_ARCHIVE_LIMIT = sum(_LIMITS.values()) + _MB
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    RuntimeError,
)  # fmt: skip
"""What the archive readers raise on damaged, encrypted or unknown content."""
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Change:
    """What a change came to."""

    bundle: ModelBundle
    """The bundle installed, or the one in use from now on."""
    changed: bool
    """False where it was so already."""


def install(store: ModelStore, file: Path, geometry: Geometry | None, *, allow_older: bool = False) -> Change:
    """Verify the bundle in FILE (.tflite with its neighbours, or an archive of the three) and copy it into the store.

    Raises InputError where it isn't a bundle, doesn't cover `geometry` (None: whatever its optics), another bundle has
    its name and version, or a newer one is there and not `allow_older`; CheckError where digest, shape or golden answer are wrong. Nothing is installed then.
    """
    with _changing(store) as folder:
        stage = Path(tempfile.mkdtemp(prefix="install-", suffix=_PARTIAL, dir=folder))
        staged = stage / "bundle.tflite"
        source = str(file.with_suffix(""))
        try:
            source = _gather(file, staged)
            return _land(store, checked(staged), geometry, folder, allow_older=allow_older)
        except HolonodeError as error:
            # The user knows the file he gave, not our copy of it.
            raise type(error)(str(error).replace(str(staged.with_suffix("")), source)) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def activate(
    store: ModelStore, name: str, version: str | None, geometry: Geometry | None, *, allow_older: bool = False
) -> Change:
    """Make a version (None: the newest, installed or shipped) the one that `name` stands for.

    Raises InputError where there is none, it doesn't cover `geometry` (None: whatever its optics), or it is older than the one in
    use and not `allow_older`; CheckError where it doesn't pass its checks. What was active stays so then.
    """
    with _changing(store) as folder:
        bundle = store.version(name, version)
        _refuse_optics(bundle.manifest, geometry)
        if not allow_older:
            _refuse_older(bundle.manifest, _in_use(store, bundle.manifest.name), "in use")
        verify_golden_in_child(bundle)
        histories = store.activations()
        history = histories.get(bundle.manifest.name, ())
        step = Activation(bundle.manifest.version, manifest_digest(bundle.model))
        if history[-1:] == (step,):
            return Change(bundle, changed=False)
        _write_histories(folder, {**histories, bundle.manifest.name: (*history, step)})
        return Change(bundle, changed=True)


def rollback(store: ModelStore, name: str) -> ModelBundle:
    """Undo the last activation of `name`; the bundle in use from now on, the newest shipped one before the first.

    Raises InputError where nothing was activated, or nothing is left to go back to.
    """
    with _changing(store) as folder:
        histories = store.activations()
        history = histories.get(name, ())
        if not history:
            raise InputError(
                "nothing to roll back", where=folder / ACTIVE_FILE,
                expected=" | ".join(sorted(histories)) or "a model that was activated", got=name,
                remedy="This is the start of its history: no version was activated, the newest shipped one is in use.",
            )  # fmt: skip
        if len(history) == 1 and store.newest_shipped(name) is None:
            raise InputError(
                "there is nothing to go back to", where=folder / ACTIVE_FILE, expected="an earlier activation or a shipped version",
                got=f"{name} {history[0].version} alone", remedy=f"holonode models activate {name} VERSION",
            )  # fmt: skip
        rest = {**histories, name: history[:-1]}
        _write_histories(folder, {key: steps for key, steps in rest.items() if steps})
        return store.find(name)


@contextmanager
def _changing(store: ModelStore) -> Generator[Path]:
    """The folder of installed bundles, locked, cleared of what a killed change left."""
    if store.installed is None:
        raise InputError("this store has no folder for installed models")
    folder = store.installed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _clear(folder)
            yield folder
        finally:
            os.close(lock)
    except OSError as error:
        raise InputError(
            "the model folder can't be changed", where=folder, got=error.strerror or str(error),
            remedy="Check that it is yours and that the disk has room.",
        ) from error  # fmt: skip


def _clear(folder: Path) -> None:
    for leftover in folder.glob(f"*{_PARTIAL}"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _land(store: ModelStore, staged: ModelBundle, geometry: Geometry | None, folder: Path, *, allow_older: bool) -> Change:
    """Move a staged bundle in once it has passed everything."""
    manifest = staged.manifest
    stem = f"{manifest.name}-{manifest.version}"
    present = _present(store, stem, manifest)
    if present is not None:
        return Change(present, changed=False)
    _refuse_optics(manifest, geometry)
    if not allow_older:
        _refuse_older(manifest, _newest(store, manifest.name), "there")
    verify_golden_in_child(staged)
    for suffix in _LIMITS:
        _sync(staged.model.with_suffix(suffix))
    for suffix in _LIMITS:
        if suffix == ".toml":
            _sync(folder)
        staged.model.with_suffix(suffix).replace(folder / f"{stem}{suffix}")
    _sync(folder)
    return Change(store.find(stem), changed=True)


def _present(store: ModelStore, stem: str, manifest: Manifest) -> ModelBundle | None:
    """The same bundle where it is there and sound; None where it is absent or damaged; InputError where another has its name."""
    for path in store.models(stem):
        try:
            known = load_manifest(path.with_suffix(".toml"))
        except InputError:
            continue
        if known != manifest:
            raise InputError(
                "another bundle has this name and version", where=path,
                expected=f"SHA-256 {known.sha256}" + (" and its manifest" if known.sha256 == manifest.sha256 else ""),
                got=f"SHA-256 {manifest.sha256}" + (" with another manifest" if known.sha256 == manifest.sha256 else ""),
                remedy="A bundle never changes: release this one under a new version. If the one in place is damaged, delete its "
                ".toml and install again.",
            )  # fmt: skip
        try:
            bundle = checked(path)
            verify_golden_in_child(bundle)
            return bundle
        except (InputError, CheckError):
            continue
    return None


def _in_use(store: ModelStore, name: str) -> str | None:
    """The version that a name stands for; None where it stands for none."""
    active = store.activations().get(name, ())
    shipped = store.newest_shipped(name)
    return active[-1].version if active else shipped and shipped.stem.rpartition("-")[2]


def _newest(store: ModelStore, name: str) -> str | None:
    """The newest version of a name that is there, active or not."""
    active = [step.version for step in store.activations().get(name, ())]
    found = [path.stem.rpartition("-")[2] for path in store.models(name)]
    return max([*found, *active], key=version_key, default=None)


def _refuse_older(manifest: Manifest, newer: str | None, how: str) -> None:
    if newer is not None and version_key(manifest.version) < version_key(newer):
        raise InputError(
            "this bundle is older than the one that is " + how, where=manifest.name, expected=f"{newer} or newer",
            got=manifest.version,
            remedy="What newer versions mended would come back: --allow-older (over MQTT: allow_older) where that is meant; "
            "`holonode models rollback` returns to what was active before.",
        )  # fmt: skip


def _refuse_optics(manifest: Manifest, geometry: Geometry | None) -> None:
    refusal = task_kind(manifest.task).refusal(manifest, geometry) if geometry else None
    if refusal:
        raise InputError(
            "the model doesn't cover this instrument", where=f"{manifest.name} {manifest.version}", got=refusal,
            remedy="Check device.instrument in the configuration; --force where the model is meant for another instrument.",
        )  # fmt: skip


def _write_histories(folder: Path, histories: dict[str, tuple[Activation, ...]]) -> None:
    partial_file = folder / f"{ACTIVE_FILE}{_PARTIAL}"
    partial_file.write_bytes(msgspec.json.format(msgspec.json.encode(histories), indent=2) + b"\n")
    _sync(partial_file)
    partial_file.replace(folder / ACTIVE_FILE)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Member:
    """A file in an archive."""

    path: PurePosixPath
    plain: bool
    """Neither link nor device, nor packed in an unusual way."""
    open: Callable[[], IO[bytes]]


def _gather(file: Path, staged: Path) -> str:
    """Copy the three files of a bundle to `staged` and its neighbours; returns what a reader calls them, less the suffix."""
    if file.is_symlink():
        raise InputError(
            "a bundle must be a plain file, not a link", where=file, got=f"a link to {file.readlink()}",
            remedy=f"Name the file itself: {file.resolve()}.",
        )  # fmt: skip
    if not file.is_file():
        raise InputError(
            "there is no such file", expected="NAME-VERSION.tflite, or an archive (" + ", ".join(_ARCHIVES) + ")", got=file
        )
    if file.suffix == ".tflite":
        for suffix, limit in _LIMITS.items():
            neighbour = file.with_suffix(suffix)
            if neighbour.is_symlink() or not neighbour.is_file():
                raise InputError(
                    "the bundle is incomplete", where=file, expected=f"a plain file {neighbour.name} beside it",
                    got="a link" if neighbour.is_symlink() else "nothing",
                    remedy="A bundle is NAME-VERSION.tflite, .toml and .npz; copy all three.",
                )  # fmt: skip
            with _opened(neighbour) as content:
                _copy(content, staged.with_suffix(suffix), limit, neighbour)
        return str(file.with_suffix(""))
    if not file.name.endswith(_ARCHIVES):
        raise InputError("not a bundle", where=file, expected="a .tflite file, or " + " | ".join(_ARCHIVES), got=file.name)
    if file.stat().st_size > _ARCHIVE_LIMIT:
        raise InputError("too large for a bundle", where=file, expected=f"at most {_ARCHIVE_LIMIT / _MB:.0f} MB", got="more")
    try:
        with _opened(file) as content:
            return f"{file}: {_unpack(file, content, staged)}"
    except _BROKEN_ARCHIVE as error:
        raise InputError(
            "the archive can't be read", where=file, got=str(error) or type(error).__name__,
            remedy="Copy it again from where it was released.",
        ) from error  # fmt: skip


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError("the file can't be read", where=path, got=error.strerror) from error


def _unpack(file: Path, content: IO[bytes], staged: Path) -> str:
    """Copy the bundle in an archive; returns its stem."""
    # One more than a bundle with a folder around each file: enough to see that it isn't one.
    most = 2 * len(_LIMITS) + 1
    if file.suffix == ".zip":
        with zipfile.ZipFile(content) as packed:
            return _take(file, [_zip_member(packed, info) for info in packed.infolist()[:most] if not info.is_dir()], staged)
    whole = staged.with_suffix(".tar")
    with gzip.open(content) if file.suffix in (".gz", ".tgz") else content as plain:
        _copy(plain, whole, _ARCHIVE_LIMIT, file)
    with tarfile.open(whole, "r:") as packed:
        return _take(file, [_tar_member(packed, info) for info in islice(packed, most) if not info.isdir()], staged)


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    # Other compressions can ask for gigabytes of memory.
    plain = kind in (0, stat.S_IFREG) and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return _Member(PurePosixPath(info.filename), plain, partial(packed.open, info))


def _tar_member(packed: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    # A plain file always has content; the reader's type allows for links.
    return _Member(PurePosixPath(info.name), info.isreg(), cast("Callable[[], IO[bytes]]", partial(packed.extractfile, info)))


def _take(file: Path, members: list[_Member], staged: Path) -> str:
    """Copy exactly one bundle's three plain files; returns their stem."""
    for member in members:
        if not member.plain or member.path.is_absolute() or ".." in member.path.parts:
            raise InputError(
                "the archive holds something else than plain files within it", where=file, got=ascii(str(member.path))[:200],
                remedy="A bundle archive holds no links, devices or paths that lead outside. It is not used.",
            )  # fmt: skip
    stems = {member.path.stem for member in members}
    if sorted(member.path.suffix for member in members) != sorted(_LIMITS) or len(stems) != 1:
        raise InputError(
            "the archive doesn't hold exactly one bundle", where=file, expected="NAME-VERSION.tflite, .toml and .npz",
            got=", ".join(ascii(str(member.path))[:60] for member in members) or "nothing",
        )  # fmt: skip
    for member in members:
        with member.open() as content:
            _copy(content, staged.with_suffix(member.path.suffix), _LIMITS[member.path.suffix], file)
    return stems.pop()


def _copy(content: IO[bytes] | gzip.GzipFile, target: Path, limit: int, source: Path) -> None:
    """Copy a stream; InputError where it holds more than `limit` bytes."""
    left = limit
    with target.open("wb") as out:
        while chunk := content.read(_MB):
            left -= len(chunk)
            if left < 0:
                raise InputError(
                    "too large for a bundle",
                    where=source,
                    expected=f"at most {limit / _MB:.4g} MB of {target.suffix}",
                    got="more",
                )
            out.write(chunk)
