"""Bundles: found by name, verified before use.

A file that doesn't match its manifest, or doesn't give the golden answer, is refused with the reason. The golden sample
of a file that was never seen here runs in a child process first: a broken model can take its process with it.

A name stands for the version that was activated, else for the newest shipped one. Where the active one is damaged or
gone, the one that was active before it stands in, with a warning: the box goes on, and every record names the digest.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from device.errors import CheckError, InputError
from device.inference.bounds import BYTES, UNPACKED_BYTES, load_manifest, version_key
from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest, Tensor
from device.inference.selftest_runs import require_pass
from device.records import ModelUse

__all__ = [
    "Activation", "ModelBundle", "ModelStore", "checked", "checked_by_name", "golden_array", "manifest_digest", "split_stem",
    "verify_golden", "verify_golden_in_child",
]  # fmt: skip

log = logging.getLogger("holonode.models")

ACTIVE_FILE = "active.json"
"""In the folder of installed bundles: by name, the versions activated and not rolled back, the active one last."""

_STEM = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)-(\d+\.\d+\.\d+)", re.ASCII)
_ResultT = TypeVar("_ResultT")


class Activation(Struct, frozen=True, forbid_unknown_fields=True):
    """One version that was made the active one."""

    version: Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    """Major.minor.patch."""
    manifest_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Digest of the manifest file, which holds the model's: neither can change unnoticed."""


@dataclass(frozen=True)
class ModelBundle:
    """A model file with its manifest and golden sample."""

    model: Path
    """The .tflite file."""
    manifest: Manifest

    @property
    def use(self) -> ModelUse:
        """How records name it."""
        return ModelUse(self.manifest.name, self.manifest.version, self.manifest.sha256)

    @property
    def golden(self) -> Path:
        """The .npz with sample and answer."""
        return self.model.with_suffix(".npz")


class ModelStore:
    """Folders of shipped bundles, the first that has a name wins, and one of installed bundles, used once activated."""

    def __init__(self, *shipped: Path, installed: Path | None = None) -> None:
        self.shipped = shipped
        self.installed = installed

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders, the one of installed bundles first."""
        return (self.installed, *self.shipped) if self.installed else self.shipped

    def models(self, name: str | None = None) -> list[Path]:
        """The model files of a name, of a NAME-VERSION or all, unchecked, by name and version; one without a manifest is none."""
        found = [path for folder in self.folders for path in _models(folder)]
        return sorted((path for path in found if name in (None, _name(path), path.stem)), key=_order)

    def names(self) -> list[str]:
        """Names of all bundles, active or not."""
        return sorted({_name(path) for path in self.models()})

    def find(self, name: str) -> ModelBundle:
        """The bundle that a name, NAME-VERSION or path stands for, digest checked; InputError where there is none."""
        return self._first_sound(name, lambda bundle: bundle)

    def open(self, name: str, threads: int = 1, *, afresh: bool = False) -> tuple[ModelBundle, Interpreter]:
        """A verified bundle, ready to run: digest, shape and golden answer have been checked.

        `afresh`: run the golden sample even where it is remembered from an earlier process that this runtime passed it here.
        """

        def ready(bundle: ModelBundle) -> tuple[ModelBundle, Interpreter]:
            verify_golden_in_child(bundle, None if afresh else self.installed)
            return bundle, _load(bundle, threads)

        return self._first_sound(name, ready)

    def version(self, name: str, version: str | None = None) -> ModelBundle:
        """One version of a name (None: the newest), installed or shipped, active or not; InputError where there is none."""
        found = self.models(name)
        if version is not None:
            found = [path for path in found if split_stem(path.stem) == (name, version)]
        if not found:
            raise self._unknown(f"{name}-{version}" if version else name)
        # Of the same version in two folders, the installed one, which stands first.
        chosen = max(found, key=_order)
        self._refuse_twin(chosen, found)
        return self._in_place(chosen)

    def newest_shipped(self, name: str) -> Path | None:
        """The model file a name stands for while nothing is active."""
        of_name = ([path for path in _models(folder) if _name(path) == name] for folder in self.shipped)
        return next((max(found, key=_order) for found in of_name if found), None)

    def activations(self) -> dict[str, tuple[Activation, ...]]:
        """What was activated and not rolled back, by name, the active one last; CheckError where the file is damaged."""
        if self.installed is None:
            return {}
        path = self.installed / ACTIVE_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[Activation, ...]])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CheckError(
                "the file that says which models are active can't be read", where=path,
                got=error.strerror if isinstance(error, OSError) else str(error),
                remedy="Delete it: the shipped models are used until the next `holonode models activate`.",
            ) from error  # fmt: skip

    def fault(self, name: str) -> str | None:
        """Why the active version of a name is passed over; None where it isn't, or none is active."""
        try:
            for activation in self.activations().get(name, ())[-1:]:
                self._activated(name, activation)
        except (InputError, CheckError) as error:
            return str(error)
        return None

    def _first_sound(self, name: str, use: Callable[[ModelBundle], _ResultT]) -> _ResultT:
        """`use` of the bundle a name stands for, or of the first before it that passes both its digest and `use`."""
        if Path(name).suffix == ".tflite":
            return use(checked(Path(name)))
        exact = split_stem(name)
        if exact:
            return use(self.version(*exact))
        failed: InputError | CheckError | None = None
        history: tuple[Activation, ...] = ()
        try:
            history = self.activations().get(name, ())
        except CheckError as error:
            log.warning("the shipped %s is used, whatever was activated: %s", name, error)
        for activation in reversed(history):
            try:
                return use(self._activated(name, activation))
            except (InputError, CheckError) as error:
                log.warning(
                    "%s %s was activated but is not used: %s The one before it is used instead; `holonode models rollback %s` "
                    "settles for that.", name, activation.version, error, name,
                )  # fmt: skip
                failed = error
        newest = self.newest_shipped(name)
        if newest is None:
            raise failed or self._unknown(name)
        return use(checked_by_name(newest))

    def _activated(self, name: str, activation: Activation) -> ModelBundle:
        """The bundle as it was when it was activated; CheckError where it is gone or was changed."""
        stem = f"{name}-{activation.version}"
        paths = self.models(stem)
        for path in paths:
            if manifest_digest(path) == activation.manifest_sha256:
                return self._in_place(path)
        raise CheckError(
            "the manifest of the active model is not the one that was activated" if paths else "the active model is gone",
            where=paths[0].with_suffix(".toml") if paths else stem, remedy="Install it again from where it was released.",
        )  # fmt: skip

    def _in_place(self, model: Path) -> ModelBundle:
        """A checked bundle; CheckError where a file of an installed one is a link, which may mean something else tomorrow."""
        if model.parent == self.installed:
            for path in (model.with_suffix(suffix) for suffix in BYTES):
                if path.is_symlink():
                    raise CheckError(
                        "an installed model is a link to something else", where=path, expected="a plain file", got=path.readlink(),
                        remedy="Delete the link and install the bundle: holonode models install FILE.",
                    )  # fmt: skip
        return checked_by_name(model)

    def _refuse_twin(self, chosen: Path, found: list[Path]) -> None:
        """CheckError where two bundles have one name and version and say different things."""
        for other in found:
            if other.stem == chosen.stem and manifest_digest(other) != manifest_digest(chosen):
                raise CheckError(
                    "two bundles have this name and version", where=f"{chosen} and {other}", expected="one, or two that are the same",
                    remedy="Find out which was released, and delete the other's files.",
                )  # fmt: skip

    def _unknown(self, name: str) -> InputError:
        waiting = self.models(name)
        return InputError(
            "this model is installed but not active" if waiting else "no such model",
            where=", ".join(str(f) for f in self.folders), expected=" | ".join(self.names()) or "a bundle", got=name,
            remedy=f"holonode models activate {name}" if waiting else "`holonode models list` shows what is there.",
        )  # fmt: skip


def split_stem(stem: str) -> tuple[str, str] | None:
    """(name, version) of NAME-VERSION; None where it isn't that."""
    match = _STEM.fullmatch(stem)
    return (match[1], match[2]) if match else None


def manifest_digest(model: Path) -> str:
    """SHA-256 of the manifest file beside a model; InputError where it can't be read."""
    path = model.with_suffix(".toml")
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError("the model's manifest can't be read", where=path, got=error.strerror) from error


def _models(folder: Path) -> list[Path]:
    """Files NAME-VERSION.tflite with a manifest beside them."""
    return [path for path in folder.glob("*.tflite") if split_stem(path.stem) and path.with_suffix(".toml").is_file()]


def _name(model: Path) -> str:
    return model.stem.rpartition("-")[0]


def _order(model: Path) -> tuple[str, tuple[int, ...]]:
    name, _, version = model.stem.rpartition("-")
    return name, version_key(version)


def checked(model: Path) -> ModelBundle:
    """The bundle of a model file whose digest is its manifest's; CheckError where it isn't."""
    manifest = load_manifest(model.with_suffix(".toml"))
    try:
        if model.stat().st_size > BYTES[".tflite"]:
            raise CheckError(
                "too large for a model", where=model, expected=f"at most {BYTES['.tflite'] // 2**20} MB", got="more"
            )
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError("the model file can't be read", where=model, got=error.strerror) from error
    if digest != manifest.sha256:
        raise CheckError(
            "the model file is not the one its manifest names", where=model, expected=f"SHA-256 {manifest.sha256}",
            got=digest, remedy="Copy the bundle again from where it was released; this file is not used.",
        )  # fmt: skip
    return ModelBundle(model, manifest)


def checked_by_name(model: Path) -> ModelBundle:
    """The same, where the file is also named as its manifest says; CheckError where it isn't."""
    bundle = checked(model)
    stem = f"{bundle.manifest.name}-{bundle.manifest.version}"
    if stem != model.stem:
        raise CheckError("the file is named for another bundle than its manifest", where=model, expected=stem, got=model.stem)
    return bundle


def _load(bundle: ModelBundle, threads: int) -> Interpreter:
    interpreter = Interpreter(bundle.model, threads)
    manifest = bundle.manifest
    for which, ends, claimed in (
        ("input", interpreter.inputs, manifest.takes),
        ("output", interpreter.outputs, manifest.gives),
    ):
        if set(ends) != set(claimed):
            raise CheckError(
                f"the model has other {which}s than its manifest says", where=bundle.model, expected=" | ".join(sorted(claimed)),
                got=" | ".join(sorted(ends)),
            )  # fmt: skip
        for name, tensor in claimed.items():
            end, called = ends[name], which if name == which else f"{which} {name}"
            if end.shape != tensor.shape:
                raise CheckError(
                    f"the model's {called} has another shape than its manifest says", where=bundle.model, expected=tensor.shape,
                    got=end.shape,
                )  # fmt: skip
            said = tensor.dtype, tensor.scale, tensor.zero_point
            if (end.dtype, end.zero_point) != (said[0], said[2]) or not np.isclose(said[1], end.scale, rtol=1e-5):
                raise CheckError(
                    "the model's quantisation is not its manifest's", where=f"{bundle.model}: {called}", expected=said,
                    got=end.quantisation,
                )  # fmt: skip
    return interpreter


def golden_difference(bundle: ModelBundle) -> float:
    """Mean absolute difference of the golden answer, in quantisation steps of the output; of several outputs the largest."""
    manifest, golden = bundle.manifest, bundle.manifest.golden
    ends = (golden.input, manifest.takes), (golden.expected, manifest.gives)
    try:
        _refuse_bomb(bundle.golden)
        with np.load(bundle.golden, allow_pickle=False) as arrays:
            sample, expected = ({name: arrays[golden_array(key, name, end)] for name in end} for key, end in ends)
    except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise CheckError("the model's golden sample can't be read", where=bundle.golden, got=str(error)) from error
    for values, (_, claimed) in ((sample, ends[0]), (expected, ends[1])):
        _refuse_sample(bundle.golden, values, claimed)
    given = _load(bundle, 1).run_stored(sample)
    differences: list[float] = []
    for name, wanted in expected.items():
        if given[name].shape != wanted.shape:
            raise CheckError(
                "the golden answer has another shape", where=bundle.model, expected=wanted.shape, got=given[name].shape
            )
        differences.append(float(np.abs(given[name].astype(np.float64) - wanted.astype(np.float64)).mean()))
    return float(np.max(differences))


def golden_array(key: str, name: str, ends: Collection[str]) -> str:
    """What the array of a tensor is called in a golden sample, its side's `key` in the manifest being this."""
    return key if len(ends) == 1 else f"{key}.{name}"


def _refuse_sample(golden: Path, values: Mapping[str, NDArray[Any]], claimed: Mapping[str, Tensor]) -> None:
    """CheckError where one side of a golden sample isn't what the manifest says, or tells nothing."""
    shapes = {name: tensor.shape for name, tensor in claimed.items()}
    if (found := {name: array.shape for name, array in values.items()}) != shapes:
        raise CheckError("the golden sample has other shapes than the manifest says", where=golden, expected=shapes, got=found)
    types = {name: tensor.dtype for name, tensor in claimed.items()}
    if (kinds := {name: array.dtype.name for name, array in values.items()}) != types:
        raise CheckError("the golden sample is of other types than the manifest says", where=golden, expected=types, got=kinds)
    # One number alone is the same everywhere and tells something.
    if all(array.size > 1 and np.ptp(array.astype(np.float64)) == 0 for array in values.values()):
        raise CheckError("the golden sample is the same everywhere, which tells nothing", where=golden)


def _refuse_bomb(golden: Path) -> None:
    """CheckError where a sample unpacks to more than the box has for it."""
    with zipfile.ZipFile(golden) as packed:
        unpacked = sum(info.file_size for info in packed.infolist())
    if unpacked > UNPACKED_BYTES:
        raise CheckError(
            "the golden sample unpacks to too much", where=golden, expected=f"at most {UNPACKED_BYTES // 2**20} MB",
            got=f"{unpacked / 2**20:.0f} MB",
        )  # fmt: skip


def verify_golden(bundle: ModelBundle) -> float:
    """Run the golden sample here; CheckError where the answer is off, else the difference in steps."""
    difference = golden_difference(bundle)
    if not difference <= bundle.manifest.golden.tolerance:
        raise CheckError(
            "the model doesn't give its golden answer on this machine", where=bundle.model,
            expected=f"a mean difference of at most {bundle.manifest.golden.tolerance:g} steps", got=f"{difference:.2f} steps",
            remedy="Another TFLite runtime version may compute differently: `holonode doctor` names the one in use.",
        )  # fmt: skip
    return difference


def verify_golden_in_child(bundle: ModelBundle, kept: Path | None = None) -> None:
    """The golden self-test in a process of its own, unless it passed before: in this process, or as the folder `kept` remembers."""
    require_pass(bundle.model, _fingerprint(bundle), kept)


def _fingerprint(bundle: ModelBundle) -> str:
    """Digest of all that the self-test depends on."""
    try:
        sample = bundle.golden.read_bytes()
    except OSError as error:
        raise CheckError("the model's golden sample can't be read", where=bundle.golden, got=error.strerror) from error
    return hashlib.sha256(msgspec.json.encode(bundle.manifest) + sample).hexdigest()
