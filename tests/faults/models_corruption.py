"""Damaged models: `python -m tests.faults.models_corruption --trials 10000`.

A model is shipped, a newer one installed and active. Every trial damages the newer one: bits flipped, cut short, another
manifest, an old manifest, a file gone, the list of what is active flipped. It must not be installed, must not be opened by
its version, and its name must stand for the shipped model meanwhile. A load counts as unverified where the model or the
manifest it brings is not byte for byte one of the two that were released.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from device.errors import CheckError, InputError
from device.inference.active import activate, install
from device.inference.store import ACTIVE_FILE, ModelBundle, ModelStore, manifest_digest
from device.rig.models import ARTEFACTS

SUFFIXES = (".tflite", ".toml", ".npz")


@dataclass
class Outcome:
    """What a campaign found."""

    trials: int = 0
    unverified_loads: int = 0
    installed: int = 0
    """Damaged bundles that were installed."""
    opened: int = 0
    """Damaged bundles that opened by their version."""
    without_model: int = 0
    """Trials in which the name stood for nothing."""
    slowest_s: float = 0.0
    """Longest time until the name stood for a sound model again."""
    kinds: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kinds.items()))
        return (
            f"{self.trials} damaged models ({kinds}): {self.unverified_loads} unverified loads, {self.installed} installed, "
            f"{self.opened} opened by version, {self.without_model} without a model; "
            f"a sound model after at most {self.slowest_s:.2f} s"
        )

    @property
    def sound(self) -> bool:
        return self.trials > 0 and not (self.unverified_loads or self.installed or self.opened or self.without_model)


def released(folder: Path, version: str, name: str = "bioaerosol") -> Path:
    """The shipped bundle of a name, released again under another version; its model file."""
    folder.mkdir(parents=True, exist_ok=True)
    source = next(ARTEFACTS.glob(f"{name}-[0-9]*.tflite"))
    target = folder / f"{name}-{version}.tflite"
    for suffix in (".tflite", ".npz"):
        shutil.copy(source.with_suffix(suffix), target.with_suffix(suffix))
    manifest = source.with_suffix(".toml").read_text()
    target.with_suffix(".toml").write_text(manifest.replace(source.stem.rpartition("-")[2], version, 1))
    return target


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One to eight bits the other way."""
    changed = bytearray(content)
    for bit in rng.sample(range(8 * len(content)), rng.randint(1, 8)):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The beginning alone, possibly nothing."""
    return content[: rng.randrange(len(content))]


def _write(path: Path, content: bytes) -> None:
    # A new file: ext4 waits for the disk where an old one is overwritten.
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _flip_model(model: Path, rng: random.Random) -> None:
    _write(model, flipped(model.read_bytes(), rng))


def _cut_model(model: Path, rng: random.Random) -> None:
    _write(model, cut(model.read_bytes(), rng))


def _wrong_manifest(model: Path, rng: random.Random) -> None:
    name, _, version = model.stem.rpartition("-")
    other = next(ARTEFACTS.glob("hidef-*.toml"))
    text = other.read_text().replace('name = "hidef"', f'name = "{name}"', 1)
    model.with_suffix(".toml").write_text(text.replace(other.stem.rpartition("-")[2], version, 1))


def _old_manifest(model: Path, rng: random.Random) -> None:
    manifest = model.with_suffix(".toml")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(digest, hashlib.sha256(rng.randbytes(8)).hexdigest()))


def _gone(model: Path, rng: random.Random) -> None:
    model.with_suffix(rng.choice(SUFFIXES)).unlink()


def _flip_manifest(model: Path, rng: random.Random) -> None:
    manifest = model.with_suffix(".toml")
    _write(manifest, flipped(manifest.read_bytes(), rng))


def _flip_list(model: Path, rng: random.Random) -> None:
    path = model.with_name(ACTIVE_FILE)
    _write(path, flipped(path.read_bytes(), rng))


ANYWHERE: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped": _flip_model, "cut": _cut_model, "wrong manifest": _wrong_manifest, "old manifest": _old_manifest, "gone": _gone,
}  # fmt: skip
"""Refused when installed, when opened by version, and when opened by name."""
ACTIVE_ALONE = {"flipped manifest": _flip_manifest, "flipped list": _flip_list}
"""A manifest has no digest of its own before it is activated, so these are refused by name only."""


def campaign(trials: int, folder: Path, seed: int = 1) -> Outcome:
    """Damage a model `trials` times in a store made in `folder`."""
    rng = random.Random(seed)
    shipped = released(folder / "shipped", "1.0.0")
    source = released(folder / "source", "2.0.0")
    store = ModelStore(shipped.parent, installed=folder / "installed")
    model = install(store, source, None).bundle.model
    activate(store, "bioaerosol", None, None)
    assert store.open("bioaerosol")[0].model == model
    kept = {path: path.read_bytes() for folder_ in (source.parent, model.parent) for path in folder_.iterdir()}
    sound = {_digests(shipped), _digests(model)}
    outcome = Outcome()
    # Half of the trials flip bits of the model, the rest takes turns.
    kinds = ["flipped", *ANYWHERE, *ACTIVE_ALONE]
    for trial in range(trials):
        kind = "flipped" if trial % 2 else kinds[trial // 2 % len(kinds)]
        outcome.trials += 1
        outcome.kinds[kind] = outcome.kinds.get(kind, 0) + 1
        (ANYWHERE | ACTIVE_ALONE)[kind](model, rng)
        _by_name(store, outcome, sound)
        if kind in ANYWHERE:
            outcome.opened += _opens(store, "bioaerosol-2.0.0", outcome, sound)
            ANYWHERE[kind](source, rng)
            outcome.installed += _installs(store, source)
        _restore(kept)
    return outcome


def _digests(model: Path) -> tuple[str, str]:
    return hashlib.sha256(model.read_bytes()).hexdigest(), manifest_digest(model)


def _judge(bundle: ModelBundle, outcome: Outcome, sound: set[tuple[str, str]]) -> None:
    outcome.unverified_loads += _digests(bundle.model) not in sound


def _by_name(store: ModelStore, outcome: Outcome, sound: set[tuple[str, str]]) -> None:
    started_s = time.monotonic()
    outcome.without_model += not _opens(store, "bioaerosol", outcome, sound)
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - started_s)


def _opens(store: ModelStore, name: str, outcome: Outcome, sound: set[tuple[str, str]]) -> bool:
    try:
        _judge(store.open(name)[0], outcome, sound)
    except (InputError, CheckError):
        return False
    return True


def _installs(store: ModelStore, source: Path) -> bool:
    try:
        install(store, source, None)
    except (InputError, CheckError):
        return False
    return True


def _restore(kept: dict[Path, bytes]) -> None:
    for path, content in kept.items():
        _write(path, content)


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.getLogger("holonode.models").setLevel(logging.ERROR)  # a warning a trial
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(args.trials, Path(folder), args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
