"""Some of the updates that must not come about; `python -m tests.faults.update_matrix` holds them all."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.losing_disk import LosingDisk
from tests.faults.update_matrix import cuts, offers


def test_what_must_not_be_used_leaves_the_box_as_it_was(tmp_path: Path) -> None:
    verdict = offers(tmp_path, ("exchanged after fetching", "half a bundle", "a stranger's root planted"))
    assert verdict.tried == 3
    assert verdict.sound, str(verdict)


def test_an_update_that_was_cut_off_comes_to_its_end(tmp_path: Path) -> None:
    verdict = cuts(tmp_path / "good", "good", every=45, seed=random.SystemRandom().randrange(1000))
    assert verdict.sound, str(verdict)


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    disk = LosingDisk(str(tmp_path), 0, random.Random(1))
    for number in range(20):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes(1000))
        disk.unsynced.add(str(path))
    disk._forget()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert 0 < sum(size < 1000 for size in sizes) < 20
