"""Releases on a box: whole or not there, current or previous, and nothing of a damaged bundle."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.bundle import _others
from deploy.sbom import sbom_of, with_packages
from device.errors import HolonodeError, InputError, TransientError
from device.health.release_files import release_files_check
from device.releases import Layout, activate, current, drop, previous, read_bundle, releases, roll_back, stage
from device.releases.cli import main
from device.releases.installing import erase, remove
from device.releases.system import check_alone, check_store, link_system, unlink_system, write_settings
from tests.bundles import MACHINE, MEMORY, bare_root, bundle_files, packed, program_wheel, small_bundle


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def _installed(layout: Layout, folder: Path, *versions: str) -> None:
    for version in versions:
        activate(layout, stage(read_bundle(small_bundle(folder / f"{version}.tar", version)), layout, MACHINE))


def test_a_release_runs_where_its_links_lead(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    release = stage(read_bundle(small_bundle(tmp_path / "b.tar")), layout, MACHINE)
    activate(layout, release)
    assert str(layout.current.readlink()) == f"releases/{release.name}"
    assert (layout.current / "venv/share/small.txt").read_text() == "data\n"
    program = (layout.current / "venv/bin/holonode").read_text()
    assert program.startswith(f"#!/opt/holonode/releases/{release.name}/venv/bin/python\n")
    assert (layout.current / "venv/bin/small-script").read_text().startswith("#!/opt/holonode/releases/")
    site = layout.current / f"venv/lib/python{MACHINE.python}/site-packages"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); import small; small.main()"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1.0\n"


def test_files_that_changed_since_they_were_laid_out_are_told(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0")
    site = layout.current / f"venv/lib/python{MACHINE.python}/site-packages"
    sound = release_files_check(site)
    assert (sound.status, sound.message) == ("ok", "as they were laid out")
    program, code = layout.current / "venv/bin/holonode", site / "small/__init__.py"
    program.write_bytes(program.read_bytes() + b"#")
    code.unlink()
    told = release_files_check(site)
    assert (told.status, told.value) == ("failed", 2)
    assert "small/__init__.py" in told.message
    assert "bin/holonode" in told.message
    record = next(site.glob("*.dist-info/RECORD"))
    record.write_bytes(b"\xff\x00" + record.read_bytes())
    assert record.name in release_files_check(site).message


def test_the_manual_of_a_bundle_has_the_papers_where_they_find_each_other() -> None:
    files = _others()
    manual = {name.removeprefix("manual/"): path for name, path in files.items() if name.startswith("manual/")}
    assert {"README.md", "SECURITY.md", "LICENSE", "deploy/hardware/assembly.md", "deploy/security/requirements.md"} <= set(
        manual
    )
    for name, path in manual.items():
        links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)\)", path.read_text("utf-8")) if "hardware" in name else []
        for link in links:
            assert str((Path("/") / name).parent.joinpath(link).resolve())[1:] in manual, (name, link)


def test_a_folder_is_as_good_as_its_archive(tmp_path: Path) -> None:
    archive = small_bundle(tmp_path / "b.tar")
    with tarfile.open(archive) as whole:
        whole.extractall(tmp_path / "b")  # Debian 12's Python knows no filter
    assert read_bundle(tmp_path / "b").release_name == read_bundle(archive).release_name


def test_the_same_bundle_twice_is_one_release(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0", "1.0")
    assert len(releases(layout)) == 1
    assert previous(layout) is None


def test_the_release_before_can_run_again_and_none_before_that(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0", "2.0")
    assert (current(layout).version, previous(layout).version) == ("2.0", "1.0")
    assert roll_back(layout).version == current(layout).version == "1.0"
    with pytest.raises(InputError, match="no release before"):
        roll_back(layout)


def test_old_releases_go_but_not_those_in_use(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0", "2.0", "3.0", "4.0")
    assert {release.version for release in drop(layout, keep=1)} == {"1.0", "2.0"}
    assert {release.version for release in releases(layout)} == {"3.0", "4.0"}


_BUNDLE = bundle_files()
_WHEEL = next(name for name in _BUNDLE if name.startswith("wheels/"))
_CHANGED = _BUNDLE[_WHEEL][:-1] + bytes([_BUNDLE[_WHEEL][-1] ^ 1])


def _said(**said: object) -> dict[str, bytes]:
    """The bundle with another manifest."""
    return _BUNDLE | {"bundle.json": json.dumps(json.loads(_BUNDLE["bundle.json"]) | said).encode()}


_DAMAGED = {
    "a changed wheel": (_BUNDLE | {_WHEEL: _CHANGED}, "a file was changed"),
    "a longer wheel": (_BUNDLE | {_WHEEL: _BUNDLE[_WHEEL] + b"\0"}, "another length"),
    "a missing wheel": ({name: content for name, content in _BUNDLE.items() if name != _WHEEL}, "1 of 7 files are missing"),
    "a file too many": (_BUNDLE | {"wheels/other.whl": b""}, "doesn't name"),
    "no manifest": ({_WHEEL: _BUNDLE[_WHEEL]}, "no bundle of Holonode"),
    "no JSON": (_BUNDLE | {"bundle.json": b"{"}, "can't be read"),
    "a manifest of a list": (_BUNDLE | {"bundle.json": b"[]"}, "can't be read"),
    "another format": (_said(format=2), "another format"),
    "a way out": (_BUNDLE | {"../escape": b""}, "no bundle holds"),
    "a version that is a path": (_said(version="1/../../x"), "names what no bundle holds"),
    "another processor": (_said(arch="aarch64"), "another processor"),
    "another Python": (_said(python="3.9"), "another Python"),
    "a newer C library": (_said(glibc="2.99"), "too old for the bundle"),
    "no room": (_said(unpacked_bytes=10**16), "no room"),
}


@pytest.mark.parametrize("what", _DAMAGED)
def test_what_is_no_whole_bundle_for_this_machine_touches_nothing(what: str, tmp_path: Path) -> None:
    files, message = _DAMAGED[what]
    layout = bare_root(tmp_path / "root")
    before = sorted(layout.root.rglob("*"))
    with pytest.raises(HolonodeError, match=message):
        stage(read_bundle(packed(files, tmp_path / "b.tar")), layout, MACHINE)
    assert sorted(layout.root.rglob("*")) == before


def test_half_an_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = small_bundle(tmp_path / "whole.tar").read_bytes()
    end = len(whole) - whole[::-1].index(next(byte for byte in reversed(whole) if byte))  # what follows is padding
    half = tmp_path / "half.tar"
    for length in range(0, end, 509):
        half.write_bytes(whole[:length])
        with pytest.raises(HolonodeError):
            read_bundle(half)


def test_an_archive_of_links_is_refused(tmp_path: Path) -> None:
    archive = packed(_BUNDLE, tmp_path / "b.tar")
    with tarfile.open(archive, "a:") as opened:
        member = tarfile.TarInfo("manual/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/shadow"
        opened.addfile(member)
    with pytest.raises(HolonodeError, match="no bundle holds"):
        read_bundle(archive)


def test_a_bundle_that_changes_after_it_was_read_makes_no_release(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    archive = small_bundle(tmp_path / "b.tar")
    bundle = read_bundle(archive)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"ExecStart", b"ExecStarT"))
    with pytest.raises(HolonodeError, match="changed"):
        stage(bundle, layout, MACHINE)
    assert not releases(layout)
    assert not list(layout.releases.iterdir())


def test_a_wheel_that_writes_outside_its_environment_makes_no_release(tmp_path: Path) -> None:
    wheel = program_wheel("1.0", extra={"../../../../../../../escape.py": b""})
    files = _BUNDLE | {_WHEEL: wheel}
    manifest = json.loads(files["bundle.json"])
    manifest["files"][_WHEEL] = {"sha256": hashlib.sha256(wheel).hexdigest(), "bytes": len(wheel)}
    files["bundle.json"] = json.dumps(manifest).encode()
    layout = bare_root(tmp_path / "root")
    with pytest.raises(HolonodeError, match="outside its environment"):
        stage(read_bundle(packed(files, tmp_path / "b.tar")), layout, MACHINE)
    assert not list(tmp_path.rglob("escape.py"))


def test_a_system_without_the_libraries_is_told_their_packages(tmp_path: Path) -> None:
    bundle = read_bundle(small_bundle(tmp_path / "b.tar"))
    (tmp_path / "root").mkdir()
    with pytest.raises(InputError, match=r"apt-get install libstdc\+\+6 libgcc-s1"):
        stage(bundle, Layout(tmp_path / "root"), MACHINE)


def test_two_installations_at_once_are_one_and_an_error(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    bundle = read_bundle(small_bundle(tmp_path / "b.tar"))
    with layout.locked(), pytest.raises(TransientError, match="at work"):
        stage(bundle, layout, MACHINE)


def test_another_holonode_on_the_machine_is_left_alone(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    layout.units.mkdir(parents=True)
    (layout.units / "holonode.service").write_text("[Service]\n")
    with pytest.raises(InputError, match="another Holonode"):
        check_alone(layout)


@pytest.mark.parametrize(("schema", "fits"), [(2, True), (3, True), (4, False)])
def test_a_store_of_a_newer_program_is_refused(schema: int, *, fits: bool, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (layout.data / "store").mkdir(parents=True)
    with closing(sqlite3.connect(layout.data / "store/outbox.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {schema}")
        database.execute("CREATE TABLE t (a)")
        database.commit()
    if fits:
        check_store(layout, 3)
    else:
        with pytest.raises(InputError, match="newer Holonode"):
            check_store(layout, 3)


def test_links_outside_the_tree_come_and_go_with_the_release(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0")
    layout.units.mkdir(parents=True)
    (layout.units / "holonode-gone.service").symlink_to("/opt/holonode/current/units/holonode-gone.service")
    (layout.units / "other.service").write_text("[Service]\n")
    link_system(layout)
    link_system(layout)
    check_alone(layout)
    assert sorted(path.name for path in layout.units.iterdir()) == [
        "holonode.service",
        "multi-user.target.wants",
        "other.service",
    ]
    assert str(layout.command.readlink()) == "/opt/holonode/current/venv/bin/holonode"
    unlink_system(layout)
    assert not [path for path in (layout.root / "etc").rglob("*") if path.is_symlink()]
    assert (layout.units / "other.service").is_file()


def _used(layout: Layout) -> dict[str, Path]:
    """What a box has after a while: settings, a key of its own, records; and a folder that isn't its own."""
    files = {
        "settings": layout.settings / "holonode.toml", "key": layout.data / "identity/identity.pem",
        "records": layout.data / "store/outbox.sqlite", "other": layout.root / "var/lib/other/file",
    }  # fmt: skip
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(0o600)
    return files


def test_what_is_taken_away_leaves_settings_and_data_unless_it_is_to_erase_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0")
    files = _used(layout)
    assert main(["--root", str(layout.root), "uninstall"]) == 0
    assert not layout.tree.exists()
    assert all(path.read_text() == name for name, path in files.items())
    (tmp_path / "seen").hardlink_to(files["key"])
    _installed(layout, tmp_path, "1.0")
    assert main(["--root", str(layout.root), "uninstall", "--erase"]) == 0
    assert "Removed, and erased" in capsys.readouterr().out
    assert not layout.settings.exists()
    assert not layout.data.exists()
    assert files["other"].read_text() == "other"
    assert (tmp_path / "seen").read_bytes() == bytes(len("key")), "a key is written over before it goes"


def test_a_box_that_is_installed_or_keeps_its_data_elsewhere_is_not_erased(tmp_path: Path) -> None:
    layout = bare_root(tmp_path / "root")
    _installed(layout, tmp_path, "1.0")
    files = _used(layout)
    with pytest.raises(InputError, match="may be running"):
        erase(layout)
    elsewhere = tmp_path / "elsewhere"
    layout.data.rename(elsewhere)
    layout.data.symlink_to(elsewhere)
    remove(layout)
    with pytest.raises(InputError, match="is a link"):
        erase(layout)
    assert (elsewhere / "identity/identity.pem").read_text() == "key"
    assert files["settings"].read_text() == "settings"


def test_settings_are_written_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.settings.mkdir(parents=True)
    example = tmp_path / "example.toml"
    example.write_text('id = "@ID@"\n')
    assert write_settings(layout, example, device_id="mast-7")
    assert not write_settings(layout, example, device_id="mast-8")
    assert (layout.settings / "holonode.toml").read_text() == 'id = "mast-7"\n'


def test_cut_at_every_file_operation_the_old_or_the_new_release_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults.cut_installations"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installer_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import device.releases.cli;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'device', '__main__'}))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_the_bill_of_materials_is_what_is_in_the_wheels(tmp_path: Path) -> None:
    wheel = tmp_path / "holonode-1.0-py3-none-any.whl"
    wheel.write_bytes(program_wheel("1.0"))
    (part,) = json.loads(sbom_of([wheel]))["components"]
    assert (part["purl"], part["hashes"]) == (
        "pkg:pypi/holonode@1.0",
        [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    )


def test_an_image_lists_its_packages_beside_the_release(tmp_path: Path) -> None:
    wheel = tmp_path / "holonode-1.0-py3-none-any.whl"
    wheel.write_bytes(program_wheel("1.0"))
    control = "Package: libstdc++6\nVersion: 1:14.2.0-19+b1\nArchitecture: arm64\nDescription: the library\n of C++\n"
    parts = json.loads(with_packages(sbom_of([wheel]), [control], "trixie"))["components"]
    assert [part["purl"] for part in parts] == [
        "pkg:pypi/holonode@1.0",
        "pkg:deb/debian/libstdc++6@1%3A14.2.0-19%2Bb1?arch=arm64&distro=trixie",
    ]
