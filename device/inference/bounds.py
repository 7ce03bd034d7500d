"""The box's own bounds for a model bundle: what a manifest may claim, whoever wrote it.

A manifest describes its model and also says how far the model may be off; both are held against what this program can use, so
that a bundle can't vouch for itself. Labels become column names, table cells and lines on a terminal.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from device.errors import InputError
from device.inference.manifest import Manifest, OpticsRange, Tensor
from device.inference.tasks.kinds import task_kinds

__all__ = [
    "BYTES", "MOST_TOLERANCE", "UNPACKED_BYTES", "is_version", "label_objections", "load_manifest", "objections", "one_ended", "shown", "version_key",
]  # fmt: skip

_MB = 2**20
BYTES = {".tflite": 64 * _MB, ".npz": 16 * _MB, ".toml": _MB // 16}
"""The files of a bundle and the most each may hold, in bytes; the manifest goes last."""
UNPACKED_BYTES = 64 * _MB
"""Of a golden sample."""
MOST_TOLERANCE = {"int8": 2.0, "uint8": 2.0, "float32": 0.02}
"""Of a golden answer, by the output's type: quantisation steps, or its own units; runtimes differ by rounding alone."""
_MOST_LABELS, _LONGEST_NAME, _LONGEST_TEXT = 256, 64, 256
_MOST_TENSORS = 16
"""On one side of a network."""
_MOST_VALUES = 2**26
"""In a tensor."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
_RESERVED = frozenset({"unknown", "other", "total", "particle"})
"""What records say where no class is meant."""
_OPTICS = {
    "wavelength_um": (0.1, 20.0), "pitch_um": (0.01, 100.0), "distance_um": (1.0, 1e6), "defocus_number": (1e-3, 1e9),
}  # fmt: skip


def is_version(text: str) -> bool:
    """Whether it is MAJOR.MINOR.PATCH without leading zeros (Semantic Versioning 2.0.0, section 2)."""
    return _VERSION.fullmatch(text) is not None


def version_key(version: str) -> tuple[int, ...]:
    """By which versions are ordered."""
    return tuple(int(part) for part in version.split("."))


def load_manifest(path: Path) -> Manifest:
    """The manifest in a TOML file; InputError where it is missing, not one, or claims what this program can't use."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES[".toml"] + 1)
        if len(content) > BYTES[".toml"]:
            raise InputError(
                "too large for a manifest", where=path, expected=f"at most {BYTES['.toml'] // 1024} kB", got="more"
            )
        manifest = msgspec.convert(tomllib.loads(content.decode("utf-8-sig")), Manifest)
    except OSError as error:
        raise InputError(
            "the model's manifest can't be read", where=path, got=error.strerror,
            remedy="A bundle is NAME-VERSION.tflite with NAME-VERSION.toml beside it.",
        ) from error  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InputError(
            "the model's manifest is not valid", where=path, got=str(error),
            remedy="`holonode schema manifest` prints what it must hold.",
        ) from error  # fmt: skip
    kind = task_kinds().get(manifest.task)
    unknown = f"task {manifest.task[:80]!a}: {' | '.join(task_kinds())} is expected"
    if reasons := [*objections(manifest), *(kind.objections(manifest) if kind else (unknown,))]:
        raise InputError(
            "the model's manifest claims what can't be", where=path, got="; ".join(reasons[:5]),
            remedy="The bundle is not used: have it made again (holonode-models export).",
        )  # fmt: skip
    return manifest


def objections(manifest: Manifest) -> list[str]:
    """What a manifest claims that can't be, whatever its task; empty where it is sound."""
    return [*_identity(manifest), *_judgement(manifest), *_tensors(manifest), *_optics(manifest.optics)]


def one_ended(manifest: Manifest) -> Iterator[str]:
    """For a task with one tensor in and one out: what a manifest claims besides."""
    for which, ends in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        if ends:
            yield f"{which} {shown(ends)}: a {manifest.task} has one, [{which[:-1]}]"


def _identity(manifest: Manifest) -> Iterator[str]:
    if not _NAME.fullmatch(manifest.name):
        yield f"name {manifest.name[:80]!a}: up to {_LONGEST_NAME} letters, digits, hyphens and underscores are expected"
    if not is_version(manifest.version):
        yield f"version {manifest.version[:80]!a}: MAJOR.MINOR.PATCH without leading zeros is expected"
    texts = {"recipe.name": manifest.recipe.name, "recipe.commit": manifest.recipe.commit, "signature": manifest.signature}
    texts |= {"golden.input": manifest.golden.input, "golden.expected": manifest.golden.expected}
    for key, text in texts.items():
        if len(text) > _LONGEST_TEXT or not text.isprintable():
            yield f"{key} {text[:80]!a}: up to {_LONGEST_TEXT} printable characters are expected"


def label_objections(labels: tuple[str, ...]) -> Iterator[str]:
    """For a task that names: what can't be the names of its classes."""
    if not 2 <= len(labels) <= _MOST_LABELS:
        yield f"{len(labels)} labels: 2 to {_MOST_LABELS} are expected"
    for label in labels[:_MOST_LABELS]:
        if not 1 <= len(label) <= _LONGEST_NAME or not label.isprintable() or not label[0].isalnum() or label != label.strip():
            yield f"label {label[:80]!a}: up to {_LONGEST_NAME} printable characters that begin with a letter or digit are expected"
    if len({label.casefold() for label in labels}) != len(labels):
        yield f"labels {shown(labels)}: each may stand for one class only"
    if taken := sorted(_RESERVED & {label.casefold() for label in labels}):
        yield f"label {shown(taken)}: records use this word where no class is meant"


def _judgement(manifest: Manifest) -> Iterator[str]:
    """How probabilities are made of outputs."""
    if not 0.01 <= manifest.temperature <= 100:
        yield f"temperature {manifest.temperature:g}: 0.01 to 100 is expected"
    shares = {key: getattr(manifest, key) for key in ("conformal_quantile", "other_above", "reject_below")}
    for key, share in (*shares.items(), *(("conformal_quantiles", q) for q in manifest.conformal_quantiles)):
        if not 0 <= share <= 1:
            yield f"{key} {share:g}: 0 to 1 is expected"
    if manifest.conformal_quantiles and len(manifest.conformal_quantiles) != len(manifest.labels):
        yield f"{len(manifest.conformal_quantiles)} conformal_quantiles: one for each of {len(manifest.labels)} labels is expected"
    most = min(MOST_TOLERANCE[tensor.dtype] for tensor in manifest.gives.values())
    if not 0 <= manifest.golden.tolerance <= most:
        yield f"golden.tolerance {manifest.golden.tolerance:g}: at most {most:g} is expected, with more a self-test tells nothing"


def _tensors(manifest: Manifest) -> Iterator[str]:
    for which, several, ends in (("inputs", manifest.inputs, manifest.takes), ("outputs", manifest.outputs, manifest.gives)):
        if len(several) > _MOST_TENSORS:
            yield f"{len(several)} {which}: up to {_MOST_TENSORS} are expected"
        for name, tensor in ends.items():
            if not _NAME.fullmatch(name):
                yield f"{which} {name[:80]!a}: up to {_LONGEST_NAME} letters, digits, hyphens and underscores are expected"
            path = f"{which}.{shown([name])}" if several else name
            yield from (f"{path}.{reason}" for reason in _tensor(tensor))


def _tensor(tensor: Tensor) -> Iterator[str]:
    shape = tensor.shape
    if not 2 <= len(shape) <= 4 or min(shape) < 1 or shape[0] != 1 or math.prod(shape) > _MOST_VALUES:
        yield f"shape {list(shape)[:8]}: 2 to 4 axes with a batch of 1 and up to {_MOST_VALUES} values are expected"
    elif shape[-1] != len(tensor.channels):
        yield f"channels {shown(tensor.channels)}: {shape[-1]} are expected, the shape's last axis"
    low, high = {"int8": (-128, 127), "uint8": (0, 255), "float32": (0, 0)}[tensor.dtype]
    if not low <= tensor.zero_point <= high:
        yield f"zero_point {tensor.zero_point}: {low} to {high} is expected of {tensor.dtype}"
    if not (tensor.scale == 0 if tensor.dtype == "float32" else 0 < tensor.scale <= 1e6):
        yield f"scale {tensor.scale:g}: " + (
            "0 is expected of float32" if tensor.dtype == "float32" else "above 0, at most 1e6"
        )
    if not 0 <= tensor.multiple_px <= 1024:
        yield f"multiple_px {tensor.multiple_px}: 0 to 1024 is expected"
    for text in (*tensor.channels[:_MOST_LABELS], tensor.units):
        if not 1 <= len(text) <= _LONGEST_NAME or not text.isprintable():
            yield f"channels or units {text[:80]!a}: up to {_LONGEST_NAME} printable characters are expected"


def _optics(optics: OpticsRange) -> Iterator[str]:
    for key, (least, most) in _OPTICS.items():
        low, high = getattr(optics, key)
        if not least <= low <= high <= most:
            yield f"optics.{key} [{low:g}, {high:g}]: a rising range within {least:g} to {most:g} is expected"
    if optics.photons is not None and not 0.01 <= optics.photons[0] <= optics.photons[1] <= 1e6:
        yield f"optics.photons {list(optics.photons)}: a rising range within 0.01 to 1e6 is expected"
    if not 0 <= optics.defocus_um <= 1e6:
        yield f"optics.defocus_um {optics.defocus_um:g}: 0 to 1e6 is expected"


def shown(names: Iterable[str]) -> str:
    """The first of some names, as plain ASCII."""
    every = list(names)
    return ", ".join(ascii(name[:40])[1:-1] for name in every[:12]) + (
        f" and {len(every) - 12} more" if len(every) > 12 else ""
    )
