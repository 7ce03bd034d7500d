"""Recordings with bits flipped, bytes gone or put in: each gives frames or one error, none ends the reader or holds much memory.

    python -m tests.faults.recording_fuzz --files 20000

Every file is read by a child that takes many, under a limit of address space; a child that dies is a failure of the file that it
had. Prints the figures in a line; exit status 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io

from device.drivers.recorded import RecordedFrame, read_each
from device.errors import InputError
from tests.tiffs import tiff_page, write_tiff

ADDRESS_SPACE = 6 * 2**30
LONGEST_S = 20.0


def sound_files(folder: Path) -> list[Path]:
    """One of every kind."""
    rng = np.random.default_rng(3)
    grey = rng.integers(1, 250, (48, 64)).astype(np.uint8)
    deep = grey.astype(np.uint16) * 200
    stack = np.stack([grey] * 3)
    for name in ("a.png", "b.bmp", "c.jpg"):
        cv2.imwrite(str(folder / name), grey)
    cv2.imwrite(str(folder / "d.png"), deep)
    cv2.imwrite(str(folder / "e.tif"), deep)
    cv2.imwritemulti(str(folder / "f.tif"), list(stack))
    write_tiff(folder / "g.tif", [tiff_page(deep, compression=8, predictor=2, rows=9)])
    write_tiff(folder / "h.tif", [tiff_page(np.stack([deep] * 3, axis=2), planar=True, order=">")], order=">", big=True)
    np.save(folder / "i.npy", stack)
    np.savez_compressed(folder / "j.npz", hologram=deep, bg=deep)
    scipy.io.savemat(folder / "k.mat", {"H": deep, "note": "text"}, do_compression=True)
    scipy.io.savemat(folder / "l.mat", {"H": deep, "cells": np.array([1, "x"], object)})
    scipy.io.savemat(folder / "m.mat", {"H": deep.astype(float)}, format="4")
    with h5py.File(folder / "n.h5", "w") as file:
        file.create_dataset("entry/data", data=stack, compression="gzip")
        file["mask"] = np.zeros((99, 99), np.uint8)
    return sorted(folder.iterdir())


def bent(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips, a cut, bytes taken out, doubled or put in; more of them near the head, where the declarations are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(out) if rng.random() < 0.5 else min(len(out), 400)
        at = int(rng.integers(0, max(reach, 1)))
        kind = rng.integers(0, 6)
        if kind <= 1 and out:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            out[at:at] = rng.bytes(int(rng.integers(1, 32)))
        else:
            del out[int(rng.integers(0, len(out) + 1)) :]
    return bytes(out)


def child(folder: Path, first: int, count: int) -> None:
    """Read so many bent files; a line before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    sound = sound_files(folder)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        source = sound[number % len(sound)]
        path = folder / f"bent{source.suffix}"
        path.write_bytes(bent(source.read_bytes(), rng))
        print(json.dumps({"begins": number, "kind": source.name}), flush=True)
        started = time.monotonic()
        found: Counter[str] = Counter()
        for frame in read_each(path):
            kinds = {RecordedFrame: "frame", InputError: "refused"}
            found[kinds.get(type(frame), "other")] += 1
        print(json.dumps({"ended": number, "took_s": time.monotonic() - started, **found}), flush=True)


def campaign(files: int, each: int = 500) -> tuple[bool, str]:
    """Whether every bar holds, and the figures."""
    totals: Counter[str] = Counter()
    failed: list[str] = []
    slowest = 0.0
    first = 0
    while first < files:
        with tempfile.TemporaryDirectory() as folder:
            words = [
                sys.executable,
                "-m",
                "tests.faults.recording_fuzz",
                "--child",
                folder,
                str(first),
                str(min(each, files - first)),
            ]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
        begun = None
        for line in io.StringIO(done.stdout):
            said = json.loads(line)
            if "begins" in said:
                begun = said
                continue
            begun, first = None, said["ended"] + 1
            slowest = max(slowest, said["took_s"])
            totals["files"] += 1
            totals["frames"] += said.get("frame", 0)
            totals["refused"] += said.get("refused", 0)
            if said.get("other") or said["took_s"] > LONGEST_S or not said.get("frame", 0) + said.get("refused", 0):
                failed.append(f"file {said['ended']}: {said}")
        if done.returncode:
            failed.append(f"file {begun}: exit {done.returncode}: {done.stderr[-300:]}")
            first = begun["begins"] + 1 if begun else first + 1
        elif done.stderr:
            failed.append(f"files before {first} wrote to the terminal: {done.stderr[:300]}")
    for line in failed[:10]:
        print(line, file=sys.stderr)
    good = not failed and totals["files"] == files
    return good, (
        f"recordings bent: {totals['files']} files, {totals['frames']} frames read, {totals['refused']} refused with a reason, "
        f"{len(failed)} failures, slowest {slowest:.2f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "FIRST", "COUNT"))
    args = parser.parse_args()
    if args.child:
        child(Path(args.child[0]), int(args.child[1]), int(args.child[2]))
        return 0
    good, figures = campaign(args.files)
    print(figures)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
