"""Crops are kept within their budget, labelled without loss, and tell how good the classifier is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from device.analysis.crops import CROP_CHANNELS, CROP_PX, ParticleCrop
from device.cli import main
from device.errors import InputError
from device.identifiers import record_ulid
from device.records import QARTOD_FAIL, QARTOD_PASS, ClockRecord, Consistency, Detection, ModelUse
from device.storage import review
from device.storage.review import FOLDER, CropRecord, Label, ReviewFolder, ReviewQueue
from device.subcommands.review import _wilson, field_accuracy

START = datetime(2026, 5, 4, tzinfo=UTC)
BLOCK = 4096
MODELS = {"classifier": ModelUse("bioaerosol", "1.0.1", "c" * 64)}


def detection(number: int, label: str = "birch", score: float = 0.9, also: tuple[str, ...] = (), flag: int = 2) -> Detection:
    return Detection(
        device_id="box", spool_id="s", seq=number, id=record_ulid(START + timedelta(seconds=number), "box", "s", number),
        interval_id="i", captured_at="2026-05-04T00:00:00.000000Z", clock=ClockRecord("system", True, 0.01), frame=0, x_um=10.0,
        y_um=10.0, z_um=500.0 + number, z_uncertainty_um=5.0, bbox_px=(0, 0, 9, 9), esd_um=20.0, esd_uncertainty_um=1.0, features={},
        label=label, score=score, probabilities={"birch": score, "dust": round(1 - score, 3)}, prediction_set=(label, *also),
        consistency=Consistency(flag=flag), models=MODELS, calibration_id=None, config_hash="c", pipeline_id="p",
    )  # fmt: skip


def unsure(number: int, score: float = 0.55) -> Detection:
    return detection(number, score=score, also=("dust",))


def image(_: int = 0) -> np.ndarray:
    crop = np.zeros((CROP_PX, CROP_PX, len(CROP_CHANNELS)), np.float32)
    crop[20:28, 20:28, :2] = (-0.5, 0.25)
    return crop


def cropped(_: int = 0) -> ParticleCrop:
    return ParticleCrop(image(), 1.12)


def queue(folder: Path, crops: int = 1000, share: float = 0.0, **options: int) -> ReviewQueue:
    """A queue with room for so many crops: one of these takes one block."""
    return ReviewQueue(folder / FOLDER, crops * BLOCK, random_share=share, **options)


def kept(folder: Path) -> list[str]:
    return [entry.id for entry in ReviewFolder(folder / FOLDER).entries()]


def offer(to: ReviewQueue, *detections: Detection) -> None:
    for one in detections:
        to.offer([one], cropped)


def test_what_is_uncertain_inconsistent_or_drawn_is_kept_and_says_why(tmp_path: Path) -> None:
    offered = [detection(1), unsure(2), detection(3, "unknown"), detection(4, flag=QARTOD_FAIL), detection(5, flag=QARTOD_PASS)]
    queue(tmp_path).offer(offered, cropped)
    folder = ReviewFolder(tmp_path / FOLDER)
    found = {entry.id: entry.reason for entry in folder.entries()}
    assert found == {offered[1].id: "uncertain", offered[2].id: "uncertain", offered[3].id: "inconsistent"}
    crop = folder.read(folder.entries()[-1])
    assert crop is not None
    assert crop.about.id == offered[1].id
    assert (crop.about.z_um, crop.about.prediction_set, crop.about.models) == (502.0, ("birch", "dust"), MODELS)
    np.testing.assert_array_equal(crop.image, image())


def test_the_draw_is_the_same_for_the_same_id_takes_its_share_and_doesnt_look_at_certainty() -> None:
    sure = [review._reason(detection(k), 0.1) for k in range(4000)]
    not_sure = [review._reason(unsure(k), 0.1) for k in range(4000)]
    assert 330 < sure.count("random") < 470
    assert [r == "random" for r in sure] == [r == "random" for r in not_sure]
    assert sure == [review._reason(detection(k), 0.1) for k in range(4000)]
    assert review._reason(detection(1), 1.0) == "random"
    assert review._reason(detection(1), 0.0) is None


def test_over_budget_the_oldest_unlabelled_makes_room_and_is_counted(tmp_path: Path) -> None:
    full = queue(tmp_path, 4)
    offer(full, *[unsure(k) for k in range(4)])
    ReviewFolder(tmp_path / FOLDER).label([(unsure(0).id, "birch")])
    offer(full, unsure(4), unsure(5))
    assert kept(tmp_path) == [unsure(k).id for k in (5, 4, 3, 0)]
    assert (full.counters.kept, full.counters.dropped, full.counters.refused) == (6, 2, 0)


def test_a_short_disk_takes_the_oldest_unlabelled_crops_random_ones_last(tmp_path: Path) -> None:
    everything = queue(tmp_path, share=1.0)
    offer(everything, detection(0))
    some = queue(tmp_path)
    offer(some, *[unsure(k) for k in range(1, 5)])
    ReviewFolder(tmp_path / FOLDER).label([(unsure(1).id, "birch")])
    assert some.reclaim(1) == BLOCK
    assert kept(tmp_path) == [unsure(4).id, unsure(3).id, unsure(1).id, detection(0).id]
    assert some.reclaim(BLOCK + 1) == 2 * BLOCK
    assert kept(tmp_path) == [unsure(1).id, detection(0).id]
    assert some.reclaim(100 * BLOCK) == BLOCK
    assert some.reclaim(1) == 0
    assert kept(tmp_path) == [unsure(1).id]
    assert some.counters.dropped == 4
    assert queue(tmp_path / "nowhere").reclaim(1) == 0


def test_labelled_crops_are_never_dropped_new_ones_are_refused_until_there_is_room(tmp_path: Path) -> None:
    full = queue(tmp_path, 3)
    first = [unsure(k) for k in range(3)]
    offer(full, *first)
    folder = ReviewFolder(tmp_path / FOLDER)
    folder.label([(one.id, "birch") for one in first])
    offer(full, unsure(8), unsure(9))
    assert set(kept(tmp_path)) == {one.id for one in first}
    assert (full.counters.dropped, full.counters.refused) == (0, 2)
    folder.entries()[0].path.unlink()
    offer(full, unsure(10))
    assert unsure(10).id in kept(tmp_path)


def test_uncertain_crops_cant_crowd_random_ones_out_of_their_quarter(tmp_path: Path) -> None:
    drawn = queue(tmp_path, 8, share=1.0)
    offer(drawn, *[detection(k) for k in range(6)])
    plain = queue(tmp_path, 8)
    offer(plain, *[unsure(k) for k in range(100, 130)])
    reasons = [entry.reason for entry in ReviewFolder(tmp_path / FOLDER).entries()]
    assert (reasons.count("random"), reasons.count("uncertain")) == (2, 6)
    assert detection(5).id in kept(tmp_path)
    offer(queue(tmp_path, 8, share=1.0), detection(200))
    assert detection(200).id in kept(tmp_path)
    assert detection(4).id not in kept(tmp_path)


def test_of_a_dense_frame_the_least_certain_and_every_random_one_are_kept(tmp_path: Path) -> None:
    dense = [unsure(k, score=0.5 + k / 1000) for k in range(100)]
    limited = queue(tmp_path)
    limited.offer(dense, cropped)
    assert set(kept(tmp_path)) == {one.id for one in dense[: review.MOST_AT_ONCE]}
    assert limited.counters.passed_over == 100 - review.MOST_AT_ONCE
    drawn = queue(tmp_path / "all", share=1.0)
    drawn.offer(dense, cropped)
    assert drawn.counters.kept == 100


def test_a_crop_is_cut_only_for_what_is_kept_and_not_twice(tmp_path: Path) -> None:
    asked: list[int] = []

    def cut(k: int) -> ParticleCrop:
        asked.append(k)
        return cropped()

    queue(tmp_path).offer([detection(1), unsure(2), detection(3)], cut)
    assert asked == [1]
    again = queue(tmp_path)
    offer(again, unsure(2))
    assert again.counters.kept == 0


def test_a_short_disk_refuses_and_a_failing_one_is_counted_and_neither_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = queue(tmp_path, min_free_bytes=2**62)
    offer(short, unsure(1))
    assert (short.counters.refused, kept(tmp_path)) == (1, [])
    good = queue(tmp_path)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    offer(good, unsure(1), unsure(2))
    monkeypatch.undo()
    assert good.counters.failed == 2
    assert not [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
    (tmp_path / "file").write_text("in the way")
    blocked = ReviewQueue(tmp_path / "file" / FOLDER, 10**6)
    offer(blocked, unsure(1))
    assert blocked.counters.failed == 1


def test_nothing_is_dropped_while_somebody_labels(tmp_path: Path) -> None:
    full = queue(tmp_path, 1)
    offer(full, unsure(1))
    with review._locked(tmp_path / FOLDER, wait=True):
        offer(full, unsure(2))
    assert kept(tmp_path) == [unsure(1).id]
    assert full.counters.failed == 1


def test_what_an_interrupted_write_left_is_tidied_and_damage_is_passed_over(tmp_path: Path) -> None:
    offer(queue(tmp_path), unsure(1), unsure(2), unsure(3))
    folder = ReviewFolder(tmp_path / FOLDER)
    empty, swapped, good = folder.entries()
    empty.path.write_bytes(b"")
    swapped.path.write_bytes(good.path.read_bytes())
    partial = good.path.with_suffix(".partial")
    partial.write_bytes(b"half")
    for entry in (empty, swapped):
        with pytest.raises(InputError, match="damaged"):
            folder.read(entry)
    offer(queue(tmp_path), unsure(4))
    assert not partial.exists()
    assert len(folder.entries()) == 4


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_is_noticed_or_does_no_harm(tmp_path: Path, seed: int) -> None:
    offer(queue(tmp_path), unsure(1))
    folder = ReviewFolder(tmp_path / FOLDER)
    [entry] = folder.entries()
    rng = np.random.default_rng(seed)
    content = bytearray(entry.path.read_bytes())
    for place in rng.integers(len(content), size=8):
        content[place] = int(rng.integers(256))
    entry.path.write_bytes(content[: int(rng.integers(1, len(content) + 1))] if seed % 3 == 0 else content)
    try:
        crop = folder.read(entry)
    except InputError:
        return
    assert crop is not None
    np.testing.assert_array_equal(crop.image, image())


def test_the_last_label_wins_and_the_history_stays(tmp_path: Path) -> None:
    offer(queue(tmp_path), unsure(1), unsure(2))
    folder = ReviewFolder(tmp_path / FOLDER)
    before = {entry.path: entry.path.read_bytes() for entry in folder.entries()}
    folder.label([(unsure(1).id, "birch")], by="Ann")
    folder.label([(unsure(1).id[-8:].lower(), "dust")])
    labels, lost = folder.labels()
    assert lost == 0
    assert {key: (label.label, label.by) for key, label in labels.items()} == {unsure(1).id: ("dust", None)}
    lines = (tmp_path / FOLDER / "labels.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Label).label for line in lines] == ["birch", "dust"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_torn_line_costs_no_other_label(tmp_path: Path) -> None:
    offer(queue(tmp_path), unsure(1), unsure(2))
    folder = ReviewFolder(tmp_path / FOLDER)
    folder.label([(unsure(1).id, "birch")])
    with (tmp_path / FOLDER / "labels.jsonl").open("ab") as file:
        file.write(b'{"id": "01')
    folder.label([(unsure(2).id, "dust")])
    labels, lost = folder.labels()
    assert {label.label for label in labels.values()} == {"birch", "dust"}
    assert lost == 1


def test_a_bad_label_or_id_says_what_is_wrong_and_good_ones_are_kept(tmp_path: Path) -> None:
    offer(queue(tmp_path), unsure(1), unsure(2))
    folder = ReviewFolder(tmp_path / FOLDER)
    outcomes = folder.label([(unsure(1).id, "Birch Pollen"), ("nobody", "birch"), ("", "birch"), (unsure(2).id, "dust")])
    assert [str(outcome).split(" (")[0].split(";")[0] for outcome in outcomes[:3]] == ["not a label"] + ["no such crop"] * 2
    assert list(folder.labels()[0]) == [unsure(2).id]
    [outcome] = ReviewFolder(tmp_path / "nowhere").label([("X", "birch")])
    assert isinstance(outcome, InputError)
    assert not (tmp_path / "nowhere").exists()


def test_the_end_of_an_id_will_do_where_it_names_one_crop(tmp_path: Path) -> None:
    # 33 ids share at least one of the 32 last letters.
    crops = [unsure(k) for k in range(33)]
    offer(queue(tmp_path), *crops)
    twins = next(a.id[-1] for a in crops for b in crops if a is not b and a.id[-1] == b.id[-1])
    first, second = ReviewFolder(tmp_path / FOLDER).label([(crops[0].id[-8:].lower(), "birch"), (twins, "birch")])
    assert isinstance(first, Label)
    assert first.id == crops[0].id
    assert "several crops' ids end in this" in str(second)


# The command


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A configuration whose store holds twelve crops, the even ones random."""
    store = tmp_path / "store"
    offer(queue(store, share=1.0), *[detection(k) for k in range(0, 12, 2)])
    offer(queue(store), *[unsure(k) for k in range(1, 12, 2)])
    config = tmp_path / "box.toml"
    config.write_text(f'[storage]\nfolder = "{store}"\n')
    return config


def holonode(box: Path, *arguments: str) -> int:
    return main(["review", *arguments, "--config", str(box)])


def test_list_shows_filters_and_draws(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert holonode(box, "label", detection(2).id, "oak") == 0
    assert holonode(box, "list") == 0
    out = capsys.readouterr().out
    assert out.count("2026-05-04T00:00:00Z") == 12
    assert "12 crops (6 random, 6 uncertain), 1 labelled" in out
    assert "new here: oak (known: birch, dust, unknown)" in out
    assert holonode(box, "list", "--reason", "random", "--unlabelled", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [crop["id"] for crop in found["crops"]] == [detection(k).id for k in (10, 8, 6, 4, 0)]
    assert holonode(box, "list", "--label", "oak", "--json") == 0
    assert json.loads(capsys.readouterr().out)["crops"][0]["labelled"]["label"] == "oak"
    sheet = box.parent / "pictures" / "sheet.png"
    assert holonode(box, "list", "--limit", "7", "--sheet", str(sheet)) == 0
    assert "the newest 7; --limit 0 shows all" in capsys.readouterr().out
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape[0] > 300
    assert picture.shape[1] > 1400


def test_list_names_damaged_files_and_an_empty_store_says_so(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next((tmp_path / "store" / FOLDER / "random").glob("*.npz")).write_bytes(b"rust")
    assert holonode(box, "list") == 0
    out = capsys.readouterr().out
    assert out.count("the crop is damaged") == 1
    assert "1 of those looked at are damaged" in out
    empty = tmp_path / "empty.toml"
    empty.write_text(f'[storage]\nfolder = "{tmp_path / "none"}"\n')
    assert holonode(empty, "list") == 0
    assert "no crops in" in capsys.readouterr().out
    assert holonode(empty, "export", "--out", str(tmp_path / "e.npz")) == 2
    assert "nothing to export" in capsys.readouterr().err


def test_bad_rows_are_named_by_line_and_the_good_ones_are_kept(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = box.parent / "labels.csv"
    ids = [detection(k).id for k in range(4)]
    rows.write_text(f"\ufefflabel,id\nbirch,{ids[0]}\nBad,{ids[1]}\nbirch,nobody\n,{ids[2]}\ndust,{ids[3]}\n", encoding="utf-8")
    assert holonode(box, "label", "--from", str(rows), "--by", "Ann") == 2
    said = capsys.readouterr()
    assert [line.split(": ")[0] for line in said.err.splitlines()] == [f"{rows}, line 3", f"{rows}, line 4"]
    assert "2 of 4 labels kept; 1 rows have no label yet" in said.out
    assert set(ReviewFolder(box.parent / "store" / FOLDER).labels()[0]) == {ids[0], ids[3]}


BAD = {
    "nothing to label": (["label"], "say what to label"),
    "id without a label": (["label", "X"], "say what to label"),
    "both": (["label", "X", "birch", "--from", "x.csv"], "say what to label"),
    "no such crop": (["label", "nobody", "birch"], "no such crop"),
    "no such file": (["label", "--from", "no-such.csv"], "can't be read"),
    "no columns": (["label", "--from", "box.toml"], "the columns are not named"),
    "no picture": (["list", "--sheet", "x.jpg"], "FILE.png"),
    "nothing to draw": (["list", "--label", "nothing", "--sheet", "x.png"], "no crop to draw"),
    "negative": (["list", "--limit", "-1"], "negative"),
    "file exists": (["export", "--out", "box.toml"], "the file exists"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_one_paragraph_and_exit_2(
    box: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(box.parent)
    arguments, words = BAD[case]
    assert holonode(box, *arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_what_is_exported_is_what_was_kept_and_labelled(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = box.parent / "taken" / "crops.npz"
    for k, label in ((2, "birch"), (3, "dust"), (4, "dust")):
        assert holonode(box, "label", detection(k).id, label) == 0
    assert holonode(box, "export", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "3 crops (3 labelled)" in said
    assert "too few labelled to say (right about 1 of 2 random crops" in said
    assert "4 random crops wait for a label" in said
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["images"].shape == (3, CROP_PX, CROP_PX, len(CROP_CHANNELS))
        assert arrays["images"].dtype == arrays["esd_um"].dtype == np.float32
        np.testing.assert_array_equal(arrays["images"][0], image())
        assert list(arrays["ids"]) == [detection(k).id for k in (4, 3, 2)]
        assert list(arrays["labels"]) == ["dust", "dust", "birch"]
        assert list(arrays["reasons"]) == ["random", "uncertain", "random"]
        assert list(arrays["model_labels"]) == ["birch"] * 3
        assert list(arrays["classifier_sha256"]) == ["c" * 64] * 3
        np.testing.assert_allclose(arrays["z_um"], [504, 503, 502])
        np.testing.assert_allclose(arrays["pitch_um"], 1.12)
    assert holonode(box, "export", "--out", str(out), "--all", "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["exported"] == 12
    with np.load(out, allow_pickle=False) as arrays:
        assert sorted(arrays["labels"])[:9] == [""] * 9
    assert [path.name for path in out.parent.iterdir()] == ["crops.npz"]


def labelled(count: int, right: int, said: str = "birch", reason: str = "random") -> list[tuple[CropRecord, Label]]:
    pairs = []
    for k in range(count):
        about = msgspec.structs.replace(review._record(detection(k, said), "random", 1.12), reason=reason)
        pairs.append((about, Label(id=about.id, label=said if k < right else "oak", at="now")))
    return pairs


def test_accuracy_comes_from_random_crops_that_were_named_and_that_a_person_could_tell() -> None:
    crops = labelled(50, 45) + labelled(7, 0, said="unknown") + labelled(9, 9, reason="uncertain")
    crops += [(about, msgspec.structs.replace(label, label="unknown")) for about, label in labelled(3, 3)]
    [found] = field_accuracy(crops)
    assert (found.right, found.named, found.unnamed) == (45, 50, 7)
    assert "0.90 (95 % interval 0.79 to 0.96): right about 45 of 50" in str(found)
    assert "7 more it left unknown" in str(found)


@pytest.mark.parametrize(
    ("right", "named", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
)  # fmt: skip
def test_the_interval_is_wilsons(right: int, named: int, low: float, high: float) -> None:
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3
    assert _wilson(right, named) == pytest.approx((low, high), abs=6e-5)


def test_too_few_labels_are_called_too_few_and_none_is_no_figure() -> None:
    [few] = field_accuracy(labelled(29, 29))
    assert "too few labelled to say" in str(few)
    [none] = field_accuracy(labelled(2, 0, said="unknown"))
    assert "not known" in str(none)
    assert (none.low, none.high) == (0.0, 1.0)
    assert field_accuracy(labelled(5, 5, reason="uncertain")) == []


def test_every_classifier_is_judged_on_its_own_crops() -> None:
    other = {"classifier": ModelUse("bioaerosol", "1.1.0", "d" * 64)}
    crops = labelled(40, 20) + [(msgspec.structs.replace(about, models=other), label) for about, label in labelled(40, 40)]
    assert [found.right for found in field_accuracy(crops)] == [20, 40]
