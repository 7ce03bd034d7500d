"""`holonode models`: what is installed, active, refused."""

from __future__ import annotations

import gzip
import io
import json
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from device.cli import main
from device.errors import CheckError, HolonodeError, InputError
from device.inference.active import activate, install, rollback
from device.inference.store import ACTIVE_FILE, ModelStore
from device.rig.models import ARTEFACTS
from tests.faults.models_corruption import SUFFIXES, campaign, cut, flipped, released

ROOT = Path(__file__).resolve().parents[2]
NAME = "bioaerosol"
SHIPPED = next(ARTEFACTS.glob(f"{NAME}-*.tflite"))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(ARTEFACTS, installed=tmp_path / "store" / "models")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A configuration whose store is the fixture's."""
    config = tmp_path / "box.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path / "store"}"\n')
    return config


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    return tmp_path / "usb"


def change(model: Path, old: str, new: str) -> Path:
    manifest = model.with_suffix(".toml")
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    return model


def archive(model: Path, suffix: str, folder: str = "") -> Path:
    path = model.parent / f"{model.stem}{suffix}"
    files = [model.with_suffix(s) for s in SUFFIXES]
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in files:
                packed.write(file, folder + file.name)
    else:
        with tarfile.open(path, "w:gz" if "gz" in suffix else "w") as packed:
            for file in files:
                packed.add(file, folder + file.name)
    return path


def in_use(store: ModelStore) -> str:
    return store.find(NAME).manifest.version


def test_installing_does_not_activate(store: ModelStore, usb: Path) -> None:
    change_ = install(store, released(usb, "8.0.0"), None)
    assert change_.changed
    assert change_.bundle.model.parent == store.installed
    assert store.find(NAME).model == SHIPPED
    assert store.find(f"{NAME}-8.0.0").model == change_.bundle.model
    assert store.find(str(change_.bundle.model)).manifest.version == "8.0.0"
    assert not install(store, usb / f"{NAME}-8.0.0.tflite", None).changed
    assert sorted(p.name for p in change_.bundle.model.parent.iterdir()) == [
        f"{NAME}-8.0.0.npz", f"{NAME}-8.0.0.tflite", f"{NAME}-8.0.0.toml", "lock",
    ]  # fmt: skip


def test_a_shipped_bundle_is_already_there(store: ModelStore) -> None:
    done = install(store, SHIPPED, None)
    assert not done.changed
    assert done.bundle.model == SHIPPED


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip"])
@pytest.mark.parametrize("folder", ["", f"{NAME}-8.0.0/"])
def test_archives_are_bundles_too(store: ModelStore, usb: Path, suffix: str, folder: str) -> None:
    assert install(store, archive(released(usb, "8.0.0"), suffix, folder), None).changed
    assert store.open(f"{NAME}-8.0.0")[0].use.version == "8.0.0"


def test_activations_and_the_way_back(store: ModelStore, usb: Path) -> None:
    for version in ("8.0.0", "9.0.0"):
        install(store, released(usb, version), None)
    assert activate(store, NAME, "8.0.0", None).changed
    assert in_use(store) == "8.0.0"
    assert activate(store, NAME, None, None).bundle.manifest.version == "9.0.0"
    assert not activate(store, NAME, "9.0.0", None).changed
    assert activate(store, NAME, SHIPPED.stem.rpartition("-")[2], None, allow_older=True).bundle.model == SHIPPED
    assert store.find("hidef").model.parent == ARTEFACTS
    assert rollback(store, NAME).manifest.version == "9.0.0"
    assert rollback(store, NAME).manifest.version == "8.0.0"
    assert rollback(store, NAME).model == SHIPPED
    with pytest.raises(InputError, match="nothing to roll back"):
        rollback(store, NAME)
    with pytest.raises(InputError, match="no such model"):
        activate(store, NAME, "7.0.0", None)
    with pytest.raises(InputError, match="no such model"):
        activate(store, str(usb / f"{NAME}-8.0.0.tflite"), None, None)


def test_a_name_that_is_only_installed_needs_activating_and_keeps_one_version(store: ModelStore, usb: Path) -> None:
    change(model := released(usb, "8.0.0"), f'name = "{NAME}"', 'name = "spores"')
    install(store, model, None)
    with pytest.raises(InputError, match=r"installed but not active.*holonode models activate spores"):
        store.find("spores")
    activate(store, "spores", None, None)
    assert store.find("spores").model.name == "spores-8.0.0.tflite"
    with pytest.raises(InputError, match="nothing to go back to"):
        rollback(store, "spores")


def test_a_bundle_never_changes(store: ModelStore, usb: Path) -> None:
    model = released(usb, "8.0.0")
    installed = install(store, model, None).bundle.model
    change(model, "temperature = ", "temperature = 1")
    with pytest.raises(InputError, match="another bundle has this name and version"):
        install(store, model, None)
    assert installed.with_suffix(".toml").read_text() != model.with_suffix(".toml").read_text()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_installing_again_mends_a_damaged_bundle(store: ModelStore, usb: Path, suffix: str) -> None:
    model = released(usb, "8.0.0")
    installed = install(store, model, None).bundle.model
    activate(store, NAME, None, None)
    damaged = installed.with_suffix(suffix)
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert store.open(NAME)[0].model == SHIPPED
    assert install(store, model, None).changed
    assert store.open(NAME)[0].model == installed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_active_but_gone_is_stood_in_for_with_a_warning(
    store: ModelStore, usb: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("8.0.0", "9.0.0"):
        install(store, released(usb, version), None)
        activate(store, NAME, version, None)
    assert store.fault(NAME) is None
    assert store.installed is not None
    (store.installed / f"{NAME}-9.0.0{suffix}").unlink()
    assert store.open(NAME)[0].manifest.version == "8.0.0"
    assert "9.0.0 was activated but is not used" in caplog.text
    assert f"holonode models rollback {NAME}" in caplog.text
    assert rollback(store, NAME).manifest.version == "8.0.0"


def test_a_changed_manifest_of_the_active_bundle_is_noticed(store: ModelStore, usb: Path) -> None:
    installed = install(store, released(usb, "8.0.0"), None).bundle.model
    activate(store, NAME, None, None)
    change(installed, "reject_below = 0", "reject_below = 1")
    assert in_use(store) != "8.0.0"
    assert "not the one that was activated" in (store.fault(NAME) or "")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"hidef": [{"version": "1.0"}]}', b"\xff\xfe", b'{"hidef": {"\xff": 1}}']
)
def test_a_damaged_list_of_active_models_is_one_clear_error(
    store: ModelStore, box: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store.installed is not None
    store.installed.mkdir(parents=True)
    (store.installed / ACTIVE_FILE).write_bytes(content)
    for arguments in (["list"], ["activate", NAME], ["rollback", NAME]):
        assert main(["models", *arguments, "--config", str(box)]) == 4
        told = capsys.readouterr().err
        assert str(store.installed / ACTIVE_FILE) in told
        assert "Delete it" in told
        assert len(told.splitlines()) == 1
    assert store.open(SHIPPED.stem)[0].model == SHIPPED


def test_optics_that_do_not_cover_the_instrument_need_force(
    store: ModelStore, box: Path, usb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = change(released(usb, "8.0.0"), "wavelength_um = [", "wavelength_um = [0.1, 0.2]\nwas = [")
    text = model.with_suffix(".toml").read_text()
    model.with_suffix(".toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("was")))
    assert main(["models", "install", str(model), "--config", str(box)]) == 2
    assert "wavelength_um 0.85 is outside 0.1 to 0.2" in capsys.readouterr().err
    assert store.models(f"{NAME}-8.0.0") == []
    assert main(["models", "install", "--force", str(model), "--config", str(box)]) == 0
    assert main(["models", "activate", NAME, "--config", str(box)]) == 2
    assert in_use(store) != "8.0.0"
    assert main(["models", "activate", NAME, "--force", "--config", str(box)]) == 0
    assert in_use(store) == "8.0.0"


def test_the_commands_as_a_user_sees_them(store: ModelStore, box: Path, usb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["models", *arguments, "--config", str(box)])
        told = capsys.readouterr()
        return status, told.out, told.err

    status, out, _ = run("install", str(released(usb, "8.0.0")), str(archive(released(usb, "9.0.0"), ".zip")))
    assert status == 0
    assert [line.split(" (")[0] for line in out.splitlines()] == [f"{NAME} 8.0.0", f"{NAME} 9.0.0"]
    assert "already there" in run("install", str(usb / f"{NAME}-8.0.0.tflite"))[1]
    assert json.loads(run("activate", NAME, "8.0.0", "--json")[1])["changed"]
    assert "already active" in run("activate", NAME, "8.0.0")[1]
    rows = json.loads(run("list", "--json")[1])
    shipped = dict(path.stem.rsplit("-", 1) for path in ARTEFACTS.glob("*.toml"))
    wanted = {name: (version, "shipped") for name, version in shipped.items()} | {NAME: ("8.0.0", "installed")}
    assert {r["name"]: (r["version"], r["where"]) for r in rows if r["active"]} == wanted
    assert len(rows) == len(shipped) + 2
    assert store.installed is not None
    (store.installed / f"{NAME}-9.0.0.tflite").write_bytes(b"nothing")
    (store.installed / "odd-name.tflite").write_bytes(b"nothing")
    (store.installed / f"{NAME}-10.0.0.tflite").write_bytes(b"no manifest")
    status, out, _ = run("list", NAME)
    assert status == 0
    assert [("broken" in line, "active" in line) for line in out.splitlines()] == [(False, False), (False, True), (True, False)]
    status, out, _ = run("verify", NAME)
    assert status == 4
    assert out.count("verified: digest, manifest, golden self-test") == 2
    assert run("verify", f"{NAME}-8.0.0")[0] == 0
    assert SHIPPED.stem.rpartition("-")[2] in run("rollback", NAME)[1]
    status, _, err = run("rollback", NAME)
    assert status == 2
    assert "start of its history" in err


def test_config_may_stand_before_the_action(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--config", str(box), "list", "hidef"]) == 0
    assert main(["models", "--config", str(box / "nothing"), "list"]) == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("other manifest", "not the one its manifest names"),
        ("no sample", "incomplete"),
        ("no manifest", "incomplete"),
        ("bad name", "claims what can't be"),
        ("other answer", "golden answer"),
        ("not a model", "not a bundle"),
        ("nothing", "no such file"),
    ],
)
def test_what_is_not_a_bundle_is_refused_with_the_reason_and_leaves_nothing(
    store: ModelStore, usb: Path, what: str, reason: str
) -> None:
    import numpy as np

    model = released(usb, "8.0.0")
    if what == "other manifest":
        model.with_suffix(".toml").write_bytes(next(ARTEFACTS.glob("hidef-*.toml")).read_bytes())
    elif what in ("no sample", "no manifest"):
        model.with_suffix(".npz" if what == "no sample" else ".toml").unlink()
    elif what == "bad name":
        change(model, f'name = "{NAME}"', 'name = "../../elsewhere"')
    elif what == "other answer":
        with np.load(model.with_suffix(".npz")) as arrays:
            sample, expected = arrays["input"], arrays["expected"]
        np.savez(model.with_suffix(".npz"), input=sample, expected=expected[:, ::-1])
    else:
        model = model.rename(usb / "model.onnx") if what == "not a model" else usb / "nothing.zip"
    with pytest.raises(HolonodeError, match=reason) as refused:
        install(store, model, None)
    assert str(usb) in str(refused.value)
    assert ".partial" not in str(refused.value)
    assert store.installed is not None
    assert [p.name for p in store.installed.iterdir()] == ["lock"]


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as packed:
        for info, content in members:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _hostile(folder: Path, which: str) -> Path:
    folder.mkdir()
    path = folder / f"{which}.tar"
    stem = f"{NAME}-8.0.0"
    members = {
        "outside": [(_member(f"../{stem}.tflite"), b"x")],
        "absolute": [(_member(f"/tmp/{stem}.tflite"), b"x")],
        "symlink": [(_member(f"{stem}.toml", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        "hard link": [(_member(f"{stem}.toml", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        "device": [(_member(f"{stem}.toml", tarfile.CHRTYPE), b"")],
        "two": [(_member(f"{stem}{n}{suffix}"), b"x") for n in "12" for suffix in SUFFIXES],
        "mixed": [(_member(f"{n}{suffix}"), b"x") for n, suffix in enumerate(SUFFIXES)],
        "manifest too large": [(_member(f"{stem}{suffix}"), bytes(70_000)) for suffix in SUFFIXES],
        "empty": [],
    }
    if which == "bomb":
        path = folder / "bomb.tar.gz"
        with gzip.open(path, "wb", compresslevel=1) as out:
            for _ in range(90):
                out.write(bytes(2**20))
        return path
    if which == "zip symlink":
        path = folder / "link.zip"
        with zipfile.ZipFile(path, "w") as packed:
            info = zipfile.ZipInfo(f"{stem}.toml")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, "/etc/passwd")
        return path
    return _tar(path, *members[which])


@pytest.mark.parametrize(
    "which",
    [
        "outside", "absolute", "symlink", "hard link", "device", "two", "mixed", "manifest too large", "empty", "bomb",
        "zip symlink",
    ],
)  # fmt: skip
def test_hostile_archives_are_refused(store: ModelStore, tmp_path: Path, which: str) -> None:
    with pytest.raises(InputError, match=r"something else than plain files|exactly one bundle|too large"):
        install(store, _hostile(tmp_path / "hostile", which), None)
    assert store.models(NAME) == [SHIPPED]


def test_damaged_archives_are_refused_or_install_the_very_model(store: ModelStore, usb: Path) -> None:
    rng = random.Random(7)
    model = released(usb, "8.0.0")
    archives = [archive(model, suffix) for suffix in (".tar.gz", ".zip")]
    whole = {path: path.read_bytes() for path in archives}
    refusals: list[str] = []
    for trial in range(120):
        path = archives[trial % 2]
        path.write_bytes((cut if trial % 3 == 0 else flipped)(whole[path], rng))
        try:
            landed = install(store, path, None).bundle
        except (InputError, CheckError) as error:
            refusals.append(str(error))
        else:
            assert landed.model.read_bytes() == model.read_bytes()
    assert len(refusals) > 100
    assert not [told for told in refusals if "model folder" in told or str(usb) not in told]
    for path in archives:
        path.write_bytes(whole[path])
        install(store, path, None)


def test_corrupted_models_are_never_loaded(tmp_path: Path) -> None:
    outcome = campaign(300, tmp_path, seed=11)
    assert outcome.sound, str(outcome)
    assert len(outcome.kinds) == 7
