"""The repository: metadata/ (signed) and targets/ (their digests in their names), as TUF's consistent snapshots have it.

Every change writes new versions beside the old ones and the timestamp last, so that a reader at any moment has one whole list.
"""

# The package re-exports its names without saying so.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from deploy.signing.described import Described
from deploy.signing.keys import Passphrase, load_signer, make_key
from device.errors import InputError
from device.updates.offers import ISSUED_AT, Offer

__all__ = ["EXPIRES_DAYS", "ROLES", "RoleName", "SignedList"]

RoleName = Literal["root", "targets", "snapshot", "timestamp"]
ROLES: tuple[RoleName, ...] = ("root", "targets", "snapshot", "timestamp")
EXPIRES_DAYS: dict[RoleName, int] = {"root": 730, "targets": 365, "snapshot": 365, "timestamp": 30}
"""A box refuses a list whose timestamp is older: it would not learn that somebody keeps newer ones from it."""

_SignedT = TypeVar("_SignedT", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class SignedList:
    """A repository and the keys to it."""

    folder: Path
    keys: Path
    passphrase: Passphrase

    def create(self) -> Path:
        """Keys, and an empty list; returns the root that boxes are given. InputError where there is one."""
        if (self.folder / "metadata").exists():
            raise InputError("there is a repository already", where=self.folder)
        signers = {role: make_key(self.keys / f"{role}.pem", self.passphrase(role)) for role in ROLES}
        root = Root(expires=_in_days("root"), consistent_snapshot=True)
        for role, signer in signers.items():
            root.add_key(signer.public_key, role)
        for part in ("metadata", "targets"):
            (self.folder / part).mkdir(parents=True)
        first = self._write(root, [signers["root"]])
        self._write(Targets(expires=_in_days("targets")), [signers["targets"]])
        self._publish(1, signers["snapshot"], signers["timestamp"])
        return first

    def add(self, *files: Described) -> list[str]:
        """Sign files into the list; returns their names. The same name with other content is refused: versions don't change."""
        targets = self._newest(Targets)
        for file in files:
            content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            custom = {k: v for k, v in msgspec.to_builtins(file.custom).items() if v}
            target = TargetFile(len(content), {"sha256": digest}, file.name, {"custom": custom})
            known = targets.targets.get(file.name)
            if known is not None and known.hashes != target.hashes:
                raise InputError(
                    "other content under the name of a file that was signed", where=file.name, expected=known.hashes["sha256"],
                    got=digest, remedy="Give it a new version.",
                )  # fmt: skip
            offer = Offer(name=file.name, length_bytes=len(content), sha256=digest, custom=file.custom)
            place = self.folder / "targets" / offer.stored
            place.parent.mkdir(parents=True, exist_ok=True)
            _put(place, content)
            targets.targets[file.name] = target
        self._sign_targets(targets)
        return [file.name for file in files]

    def withdraw(self, name: str) -> None:
        """Take a file out of the list; boxes that have it keep it."""
        targets = self._newest(Targets)
        if targets.targets.pop(name, None) is None:
            raise InputError("no such file in the list", got=name, expected=" | ".join(targets.targets) or "any")
        self._sign_targets(targets)

    def renew_timestamp(self) -> datetime:
        """Say that the list is still the newest; returns until when that holds."""
        timestamp = self._newest(Timestamp)
        timestamp.version += 1
        self._sign_timestamp(timestamp, self._signer("timestamp"))
        return timestamp.expires

    def rotate(self, role: RoleName) -> Path:
        """A new key for a role, in place of the old one; returns the new root, which both old and new root keys sign."""
        root, fresh = self._newest(Root), self.keys / f"{role}.pem.new"
        old_root = self._signer("root")
        new = make_key(fresh, self.passphrase(f"new {role}"))
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(new.public_key, role)
        root.version += 1
        root.expires = _in_days("root")
        # A box that trusts the old root must find its key here, one that begins with this the new one.
        written = self._write(root, [old_root, new] if role == "root" else [old_root])
        (self.keys / f"{role}.pem").replace(self.keys / f"{role}.pem.old")
        fresh.replace(self.keys / f"{role}.pem")
        if role != "root":
            self._sign_targets(self._newest(Targets))
        return written

    def _sign_targets(self, targets: Targets) -> None:
        signers = {role: self._signer(role) for role in ("targets", "snapshot", "timestamp")}
        targets.version += 1
        targets.expires = _in_days("targets")
        self._write(targets, [signers["targets"]])
        self._publish(targets.version, signers["snapshot"], signers["timestamp"])

    def _publish(self, targets_version: int, snapshot_signer: CryptoSigner, timestamp_signer: CryptoSigner) -> None:
        """Snapshot and timestamp of the targets that were written."""
        made = bool(self._versions("snapshot"))
        snapshot, timestamp = (self._newest(Snapshot), self._newest(Timestamp)) if made else (Snapshot(), Timestamp())
        snapshot.version += made
        snapshot.meta["targets.json"] = _meta(self.folder / "metadata" / f"{targets_version}.targets.json", targets_version)
        snapshot.expires = _in_days("snapshot")
        written = self._write(snapshot, [snapshot_signer])
        timestamp.version += made
        timestamp.snapshot_meta = _meta(written, snapshot.version)
        self._sign_timestamp(timestamp, timestamp_signer)

    def _sign_timestamp(self, timestamp: Timestamp, signer: CryptoSigner) -> None:
        timestamp.expires = _in_days("timestamp")
        timestamp.unrecognized_fields[ISSUED_AT] = datetime.now(UTC).replace(microsecond=0).isoformat()
        self._write(timestamp, [signer])

    def _signer(self, role: RoleName) -> CryptoSigner:
        return load_signer(self.keys / f"{role}.pem", self.passphrase)

    def _versions(self, role: str) -> list[int]:
        return sorted(int(path.name.split(".")[0]) for path in (self.folder / "metadata").glob(f"[0-9]*.{role}.json"))

    def _newest(self, kind: type[_SignedT]) -> _SignedT:
        """What was signed last of a role; InputError where it can't be read."""
        role = kind.type
        versions = self._versions(role)
        if role != "timestamp" and not versions:
            raise InputError("there is no repository", where=self.folder, remedy="python -m deploy.signing create")
        name = "timestamp.json" if role == "timestamp" else f"{versions[-1]}.{role}.json"
        try:
            return Metadata[_SignedT].from_file(str(self.folder / "metadata" / name)).signed
        except (RepositoryError, StorageError) as error:
            raise InputError("the repository can't be read", where=self.folder / "metadata" / name, got=str(error)) from error

    def _write(self, signed: Any, signers: list[CryptoSigner]) -> Path:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if isinstance(signed, Timestamp) else f"{signed.version}.{signed.type}.json"
        path = self.folder / "metadata" / name
        _put(path, metadata.to_bytes(JSONSerializer(compact=False)))
        return path


def _in_days(role: RoleName) -> datetime:
    return (datetime.now(UTC) + timedelta(days=EXPIRES_DAYS[role])).replace(microsecond=0)


def _meta(path: Path, version: int) -> MetaFile:
    content = path.read_bytes()
    return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def _put(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
