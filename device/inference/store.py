"""Bundles: found by name, verified before use.

A file that doesn't match its manifest, or doesn't give the golden answer, is refused with the reason. The golden sample
of a file that was never seen here runs in a child process first: a broken model can take its process with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.errors import CheckError, InputError
from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest, load_manifest
from device.records import ModelUse

__all__ = ["Bundle", "ModelStore", "checked", "verify_golden"]

_CHILD_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Bundle:
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
    """Folders of bundles, the first that has a name wins."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders

    def names(self) -> list[str]:
        """Names of all bundles."""
        return sorted(
            {re.sub(r"-\d+\.\d+\.\d+$", "", path.stem) for folder in self.folders for path in folder.glob("*.tflite")}
        )

    def find(self, name: str) -> Bundle:
        """The newest version of a bundle, digest checked; InputError where there is none."""
        given = Path(name)
        if given.suffix == ".tflite":
            return checked(given)
        for folder in self.folders:
            found = [p for p in folder.glob(f"{name}-*.tflite") if re.fullmatch(rf"{re.escape(name)}-\d+\.\d+\.\d+", p.stem)]
            if found:
                return checked(max(found, key=lambda p: tuple(int(n) for n in p.stem.rsplit("-", 1)[1].split("."))))
        raise InputError(
            "no such model", where=", ".join(str(f) for f in self.folders), expected=" | ".join(self.names()) or "a bundle",
            got=name, remedy="`holonode models list` shows what is installed.",
        )  # fmt: skip

    def open(self, name: str, threads: int = 1) -> tuple[Bundle, Interpreter]:
        """A verified bundle, ready to run: digest, shape and golden answer have been checked."""
        bundle = self.find(name)
        verify_golden_in_child(bundle)
        return bundle, _load(bundle, threads)


def checked(model: Path) -> Bundle:
    """The bundle of a model file whose digest is its manifest's; CheckError where it isn't."""
    manifest = load_manifest(model.with_suffix(".toml"))
    try:
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError("the model file can't be read", where=model, got=error.strerror) from error
    if digest != manifest.sha256:
        raise CheckError(
            "the model file is not the one its manifest names", where=model, expected=f"SHA-256 {manifest.sha256}",
            got=digest, remedy="Copy the bundle again from where it was released; this file is not used.",
        )  # fmt: skip
    return Bundle(model, manifest)


def _load(bundle: Bundle, threads: int) -> Interpreter:
    interpreter = Interpreter(bundle.model, threads)
    claimed = tuple((t.dtype, t.scale, t.zero_point) for t in (bundle.manifest.input, bundle.manifest.output))
    for (dtype, scale, zero), found in zip(claimed, interpreter.quantisation, strict=True):
        if (dtype, zero) != (found[0], found[2]) or not np.isclose(scale, found[1], rtol=1e-5):
            raise CheckError("the model's quantisation is not its manifest's", where=bundle.model, expected=claimed, got=found)
    return interpreter


def golden_difference(bundle: Bundle) -> float:
    """Mean absolute difference of the golden answer, in quantisation steps of the output."""
    try:
        with np.load(bundle.golden, allow_pickle=False) as arrays:
            sample, expected = arrays[bundle.manifest.golden.input], arrays[bundle.manifest.golden.expected]
    except (OSError, KeyError, ValueError) as error:
        raise CheckError("the model's golden sample can't be read", where=bundle.golden, got=str(error)) from error
    given = _load(bundle, 1).run_quantised(sample)
    if given.shape != expected.shape:
        raise CheckError("the golden answer has another shape", where=bundle.model, expected=expected.shape, got=given.shape)
    return float(np.abs(given.astype(np.float64) - expected.astype(np.float64)).mean())


def verify_golden(bundle: Bundle) -> float:
    """Run the golden sample here; CheckError where the answer is off, else the difference in steps."""
    difference = golden_difference(bundle)
    if not difference <= bundle.manifest.golden.tolerance:
        raise CheckError(
            "the model doesn't give its golden answer on this machine", where=bundle.model,
            expected=f"a mean difference of at most {bundle.manifest.golden.tolerance:g} steps", got=f"{difference:.2f} steps",
            remedy="Another TFLite runtime version may compute differently: `holonode doctor` names the one in use.",
        )  # fmt: skip
    return difference


def verify_golden_in_child(bundle: Bundle) -> None:
    """The golden self-test in a process of its own, once a digest and process."""
    if bundle.manifest.sha256 in _verified:
        return
    command = [sys.executable, "-m", "device.inference.selftest", str(bundle.model)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHILD_TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise CheckError(
            "the model doesn't finish its self-test", where=bundle.model, got=f"no answer in {_CHILD_TIMEOUT_S:g} s"
        ) from error
    if done.returncode == CheckError.exit_status:
        raise CheckError(done.stderr.strip())
    if done.returncode != 0:
        raise CheckError(
            "the model takes its process down",
            where=bundle.model,
            got=f"exit status {done.returncode}",
            remedy="It is not used.",
        )
    _verified.add(bundle.manifest.sha256)


_ROOT = Path(__file__).resolve().parents[2]

_verified: set[str] = set()
"""Digests that passed in this process."""
