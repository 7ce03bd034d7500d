"""`holonode review`: crops that the service kept, for a person to look at, label and take away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.strict_json import dumps
from device.text import say

if TYPE_CHECKING:
    from device.errors import InputError
    from device.storage.review import Crop, CropRecord, Label, ReviewFolder

__all__ = ["FieldAccuracy", "add_arguments", "execute", "field_accuracy"]

UNKNOWN = "unknown"
"""The classifier's word for no name, and a person's for 'can't tell'."""

ENOUGH = 30
"""Labelled random crops under which an accuracy is not worth quoting: its 95 % interval is wider than 0.3."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is kept, newest first", description="What is kept, newest first.")
    listing.add_argument("--reason", choices=("uncertain", "inconsistent", "random"), help="kept for this reason alone")
    listing.add_argument("--label", metavar="LABEL", help="called this by the classifier or by a person")
    listing.add_argument("--unlabelled", action="store_true", help="not labelled by a person")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="show at most N (default 100; 0: all)")
    listing.add_argument("--sheet", type=Path, metavar="FILE.png", help="a picture of those shown: amplitude and phase of each")
    listing.add_argument("--json", action="store_true", help="print as JSON")

    text = "Label one crop, or those of a file; a later label of the same crop wins, earlier ones stay on record."
    labelling = actions.add_parser("label", help="say what a crop is", description=text)
    labelling.add_argument("id", nargs="?", metavar="ID", help="the crop's id, or the end of it")
    labelling.add_argument("label", nargs="?", metavar="LABEL", help=f"a-z, 0-9 and -; '{UNKNOWN}' where you can't tell")
    labelling.add_argument(
        "--from", dest="file", type=Path, metavar="FILE.csv", help="columns id,label; rows without a label wait"
    )
    labelling.add_argument("--by", metavar="NAME", help="who labels")

    text = "Labelled crops in one file, and how often the classifier was right about those kept at random."
    export = actions.add_parser("export", help="labelled crops in one file", description=text)
    export.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="file to write")
    export.add_argument("--all", action="store_true", help="unlabelled ones too, their label empty")
    export.add_argument("--force", action="store_true", help="overwrite")
    export.add_argument("--json", action="store_true", help="print the summary as JSON")
    for action in (listing, labelling, export):
        # Here as well, for it is written after the action; SUPPRESS keeps what was written before it.
        action.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration of the service")
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def execute(args: argparse.Namespace) -> int:
    """List, label or export."""
    from device.config import load_config
    from device.storage.review import FOLDER, ReviewFolder

    folder = ReviewFolder(Path(load_config(args.config).storage.folder).expanduser() / FOLDER)
    return {"list": _list, "label": _label, "export": _export}[args.action](args, folder)


@dataclass(frozen=True)
class _CropSelection:
    """What a person asked to see."""

    crops: list[Crop]
    labels: dict[str, Label]
    unreadable: list[InputError]
    more: bool
    """Whether the limit left some out."""


def _list(args: argparse.Namespace, folder: ReviewFolder) -> int:
    if args.sheet is not None and args.sheet.suffix.lower() != ".png":
        from device.errors import InputError

        raise InputError("not a name for a picture", where="--sheet", expected="FILE.png", got=args.sheet)
    listing = _listing(args, folder)
    if args.sheet is not None:
        _write_sheet(args.sheet, listing)
    if args.json:
        _print_json(folder, listing)
    else:
        _print_table(folder, listing)
        if args.sheet is not None:
            say(f"picture of {len(listing.crops)} in {args.sheet}")
    return 0


def _listing(args: argparse.Namespace, folder: ReviewFolder) -> _CropSelection:
    from device.errors import InputError

    if args.limit < 0:
        raise InputError("a limit can't be negative", where="--limit", expected="0 (all) or more", got=args.limit)
    labels, _ = folder.labels()
    listing = _CropSelection([], labels, [], False)
    for entry in folder.entries():
        if (args.reason and entry.reason != args.reason) or (args.unlabelled and entry.id in labels):
            continue
        try:
            crop = folder.read(entry)
        except InputError as error:
            listing.unreadable.append(error)
            continue
        if crop is None or (args.label and args.label not in _names(crop.about, labels)):
            continue
        if args.limit and len(listing.crops) == args.limit:
            return _CropSelection(listing.crops, labels, listing.unreadable, True)
        listing.crops.append(crop)
    return listing


def _names(about: CropRecord, labels: dict[str, Label]) -> tuple[str, ...]:
    """What the classifier and a person call a crop."""
    return (about.label, labels[about.id].label) if about.id in labels else (about.label,)


def _print_table(folder: ReviewFolder, listing: _CropSelection) -> None:
    if listing.crops:
        say(f"{'ID':26}  {'CAPTURED':20}  {'REASON':12}  {'CLASSIFIER':14}  SCORE  {'SIZE':>7}  LABEL")
    for crop in listing.crops:
        about = crop.about
        label = listing.labels.get(about.id)
        others = [name for name in about.prediction_set if name != about.label]
        say(
            f"{about.id}  {about.captured_at[:19]}Z  {about.reason:12}  {about.label:14}  {_score(about):>5}  {about.esd_um:4.0f} um"
            f"  {label.label if label else '-'}" + (f"  (or {', '.join(others)})" if others else "")
        )
    for error in listing.unreadable:
        say(error)
    if listing.more:
        say(f"the newest {len(listing.crops)}; --limit 0 shows all")
    say(_stock(folder, listing))


def _stock(folder: ReviewFolder, listing: _CropSelection) -> str:
    """What is kept, in a line."""
    entries = folder.entries()
    if not entries:
        return f"no crops in {folder.folder}: the service keeps them while it runs ([review] in its configuration)"
    reasons = [entry.reason for entry in entries]
    parts = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
    labelled = sum(entry.id in listing.labels for entry in entries)
    damaged = f"; {len(listing.unreadable)} of those looked at are damaged" if listing.unreadable else ""
    lost = folder.labels()[1]
    lines = f"; {lost} line{'s' if lost > 1 else ''} of its labels.jsonl can't be read" if lost else ""
    size_mb = sum(entry.size for entry in entries) / 2**20
    return f"{len(entries)} crops ({parts}), {labelled} labelled, {size_mb:.1f} MB in {folder.folder}{damaged}{lines}"


def _print_json(folder: ReviewFolder, listing: _CropSelection) -> None:
    import msgspec

    entries = folder.entries()
    content: dict[str, Any] = {
        "crops": [msgspec.to_builtins(c.about) | {"labelled": listing.labels.get(c.about.id)} for c in listing.crops],
        "more": listing.more,
        "damaged": [str(error) for error in listing.unreadable],
        "kept": len(entries),
        "kept_bytes": sum(entry.size for entry in entries),
        "labelled": sum(entry.id in listing.labels for entry in entries),
        "label_lines_damaged": folder.labels()[1],
    }
    print(msgspec.json.encode(content).decode())


def _write_sheet(out: Path, listing: _CropSelection) -> None:
    from device.analysis.gallery import contact_sheet
    from device.errors import InputError
    from device.output import output_file, write_image

    if not listing.crops:
        raise InputError("no crop to draw", where="holonode review list", remedy="Leave out --sheet, or ask for more.")
    about = [crop.about for crop in listing.crops]
    captions = [_caption(a, listing.labels.get(a.id)) for a in about]
    sheet = contact_sheet(
        [crop.image for crop in listing.crops], [a.esd_um for a in about], captions, [a.pitch_um for a in about]
    )
    write_image(output_file(out), sheet)


def _score(about: CropRecord) -> str:
    """A dash where no classifier spoke."""
    return "-" if about.score is None else f"{about.score:.2f}"


def _caption(about: CropRecord, label: Label | None) -> tuple[str, str]:
    said = f"{about.id[-6:]}  {about.label} {_score(about)}, {about.esd_um:.0f} um"
    return said, f"{about.reason}, labelled {label.label}" if label else about.reason


def _label(args: argparse.Namespace, folder: ReviewFolder) -> int:
    from device.errors import InputError

    if (args.file is None) == (args.label is None) or (args.file is not None and args.id is not None):
        raise InputError("say what to label", where="holonode review label", expected="ID LABEL, or --from FILE.csv")
    return _label_one(args, folder) if args.file is None else _label_rows(args, folder)


def _label_one(args: argparse.Namespace, folder: ReviewFolder) -> int:
    from device.errors import InputError

    known = _known_names(folder)
    [outcome] = folder.label([(args.id, args.label)], args.by)
    if isinstance(outcome, InputError):
        raise outcome
    say(f"{outcome.id} is {outcome.label}")
    _say_new({outcome.label}, known)
    return 0


def _label_rows(args: argparse.Namespace, folder: ReviewFolder) -> int:
    from device.errors import InputError

    places, pairs, waiting = _rows(args.file)
    known = _known_names(folder)
    outcomes = folder.label(pairs, args.by)
    for place, outcome in zip(places, outcomes, strict=True):
        if isinstance(outcome, InputError):
            say(f"{place}: {outcome}", file=sys.stderr)
    good = {outcome.label for outcome in outcomes if not isinstance(outcome, InputError)}
    bad = sum(isinstance(outcome, InputError) for outcome in outcomes)
    wait = f"; {waiting} rows have no label yet" if waiting else ""
    say(f"{len(pairs) - bad} of {len(pairs)} labels kept{wait}")
    _say_new(good, known)
    return InputError.exit_status if bad else 0


def _say_new(labels: set[str], known: set[str]) -> None:
    """A name that nobody used before is a class of its own, or a slip."""
    if known and labels - known:
        say(f"new here: {', '.join(sorted(labels - known))} (known: {', '.join(sorted(known))})")


def _known_names(folder: ReviewFolder) -> set[str]:
    """The classifier's classes, as the newest crop has them, and what people have used."""
    from device.errors import InputError

    names = {label.label for label in folder.labels()[0].values()} | {UNKNOWN}
    for entry in folder.entries():
        try:
            crop = folder.read(entry)
        except InputError:
            continue
        if crop is not None:
            return names | set(crop.about.probabilities)
    return names


def _rows(file: Path) -> tuple[list[str], list[tuple[str, str]], int]:
    """Places (file and line), ids with labels, and how many rows have no label yet."""
    import csv

    from device.errors import InputError

    places: list[str] = []
    pairs: list[tuple[str, str]] = []
    waiting = 0
    try:
        # utf-8-sig: spreadsheets put a byte-order mark in front.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            if not {"id", "label"} <= set(reader.fieldnames or ()):
                raise InputError(
                    "the columns are not named",
                    where=f"{file}, line 1",
                    expected="id,label",
                    got=",".join(reader.fieldnames or ()),
                )
            for row in reader:
                if row["label"].strip():
                    places.append(f"{file}, line {reader.line_num}")
                    pairs.append((row["id"], row["label"].strip()))
                else:
                    waiting += 1
    except OSError as error:
        raise InputError("the file can't be read", where=file, got=error.strerror) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("the file is not CSV in UTF-8", where=file, got=str(error)) from error
    return places, pairs, waiting


def _export(args: argparse.Namespace, folder: ReviewFolder) -> int:
    from device.analysis.crops import CROP_CHANNELS, CROP_PX
    from device.errors import InputError
    from device.output import output_file

    if args.out.exists() and not args.force:
        raise InputError("the file exists", where=args.out, remedy="Choose another name, or overwrite it with --force.")
    output_file(args.out)
    labels, _ = folder.labels()
    found, damaged = _readable(folder, None if args.all else set(labels))
    crops = [crop for crop in found if crop.image.shape == (CROP_PX, CROP_PX, len(CROP_CHANNELS))]
    if len(crops) < len(found):
        say(
            f"left out: {len(found) - len(crops)} crops of an earlier recipe, of another size or fewer channels",
            file=sys.stderr,
        )
    if not crops:
        raise InputError(
            "nothing to export", where=folder.folder, expected="labelled crops",
            remedy="`holonode review label` labels them; --all exports unlabelled ones too.",
        )  # fmt: skip
    _write_crops(args.out, crops, labels)
    labelled = [(crop.about, labels[crop.about.id]) for crop in found if crop.about.id in labels]
    accuracies = field_accuracy(labelled)
    waiting = sum(entry.is_random and entry.id not in labels for entry in folder.entries())
    if args.json:
        summary = {"out": str(args.out), "exported": len(crops), "labelled": len(labelled), "damaged": damaged}
        print(dumps(summary | {"accuracy": [asdict(found) for found in accuracies], "random_unlabelled": waiting}))
        return 0
    say(f"{len(crops)} crops ({len(labelled)} labelled) in {args.out}" + (f"; {damaged} damaged" if damaged else ""))
    _print_accuracy(accuracies, waiting)
    return 0


def _readable(folder: ReviewFolder, wanted: set[str] | None) -> tuple[list[Crop], int]:
    """Crops of these ids (None: all), and how many are damaged; those are named on stderr."""
    from device.errors import InputError

    crops: list[Crop] = []
    damaged = 0
    for entry in folder.entries():
        if wanted is not None and entry.id not in wanted:
            continue
        try:
            crop = folder.read(entry)
        except InputError as error:
            damaged += 1
            say(f"left out: {error}", file=sys.stderr)
            continue
        if crop is not None:
            crops.append(crop)
    return crops, damaged


def _print_accuracy(accuracies: Sequence[FieldAccuracy], waiting: int) -> None:
    for found in accuracies:
        say(found)
    if not accuracies:
        say("accuracy in the field: not known, no crop that was kept at random has a label that tells")
    if waiting:
        say(
            f"{waiting} random crops wait for a label (`holonode review list --reason random --unlabelled`); "
            "to leave out the hard ones flatters the figure"
        )


def _write_crops(out: Path, crops: Sequence[Crop], labels: dict[str, Label]) -> None:
    """One .npz file, all or nothing, newest crop first.

    `images` float32 [n, CROP_PX, CROP_PX, channels] (device.analysis.crops.CROP_CHANNELS); float32 [n] `esd_um`, `z_um`, `pitch_um`; text [n] `labels` (empty: none),
    `ids`, `reasons`, `model_labels`, `classifier_sha256` (empty: no classifier).
    """
    import os

    import numpy as np

    from device.output import unwritable

    about = [crop.about for crop in crops]
    arrays: dict[str, Any] = {
        name: np.array([getattr(a, name) for a in about], np.float32) for name in ("esd_um", "z_um", "pitch_um")
    }
    words = {
        "labels": [labels[a.id].label if a.id in labels else "" for a in about],
        "ids": [a.id for a in about],
        "reasons": [a.reason for a in about],
        "model_labels": [a.label for a in about],
        "classifier_sha256": [c.sha256 if (c := a.models.get("classifier")) else "" for a in about],
    }
    arrays |= {name: np.array(column, np.str_) for name, column in words.items()}
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, images=np.stack([crop.image for crop in crops]), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(out, error) from error


@dataclass(frozen=True)
class FieldAccuracy:
    """How a classifier did on crops that were kept at random and labelled."""

    classifier: str
    """Name, version and the start of its digest."""
    right: int
    """Crops that it named as the person did."""
    named: int
    """Crops that it named and the person could tell."""
    unnamed: int
    """Crops that it left 'unknown' and the person could tell."""
    low: float
    """Lower end of the 95 % interval of right / named."""
    high: float

    def __str__(self) -> str:
        head = f"accuracy in the field of {self.classifier}: "
        unnamed = f"; {self.unnamed} more it left {UNKNOWN}" if self.unnamed else ""
        if self.named == 0:
            return f"{head}not known, none of the labelled random crops has its name{unnamed}"
        share = f"right about {self.right} of {self.named} random crops that it named"
        interval = f"95 % interval {self.low:.2f} to {self.high:.2f}"
        if self.named < ENOUGH:
            return f"{head}too few labelled to say ({share}, {interval}; {ENOUGH} are the least){unnamed}"
        return f"{head}{self.right / self.named:.2f} ({interval}): {share}{unnamed}"


def field_accuracy(labelled: Iterable[tuple[CropRecord, Label]]) -> list[FieldAccuracy]:
    """The accuracy of every classifier, from the crops that were kept at random alone: only those stand for all.

    Crops that the person could not tell are left out. What the classifier left 'unknown' is counted apart.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for about, label in labelled:
        model = about.models.get("classifier")
        if about.reason == "random" and model is not None and label.label != UNKNOWN:
            groups.setdefault(f"{model.name} {model.version} ({model.sha256[:12]})", []).append((about.label, label.label))
    return [_accuracy(name, pairs) for name, pairs in groups.items()]


def _accuracy(classifier: str, pairs: Sequence[tuple[str, str]]) -> FieldAccuracy:
    named = [(said, true) for said, true in pairs if said != UNKNOWN]
    right = sum(said == true for said, true in named)
    low, high = _wilson(right, len(named))
    return FieldAccuracy(classifier, right, len(named), len(pairs) - len(named), low, high)


def _wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Ends of the 95 % interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if trials == 0:
        return 0.0, 1.0
    share, widened = successes / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / widened
    half = z / widened * (share * (1 - share) / trials + z * z / (4 * trials**2)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)
