"""The table of what standards ask: nothing is missing, every named test is one, and what the policy promises is there."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from deploy.security.traceability import PAGE, Provision, page, standards
from device.cli import _COMMANDS
from tests.architecture.tree import ROOT

_EN_303_645 = {
    "5.0": "1", "5.1": "1 2 2A 3 4 5", "5.2": "1 2 3", "5.3": "1 2 3 4A 4B 5 6A 6B 7 8 9 10 11 12 13 14 15A 15B 16",
    "5.4": "1 2 3 4", "5.5": "1 2 3 4 5 6 7 8", "5.6": "1 2 3 4A 4B 5 6 7 8 9", "5.7": "1 2", "5.8": "1 2 3", "5.9": "1 2 3",
    "5.10": "1", "5.11": "1 2 3 4", "5.12": "1 2 3", "5.13": "1A 1B", "6": "1 2 3A 3B 4 5 6 7 8",
}  # fmt: skip
"""Clauses and the numbers of their provisions, V3.1.3."""
_ABILITIES = {"DI": 2, "DC": 3, "DP": 3, "LA": 3, "SU": 6, "CS": 5}
"""Capabilities of NIST IR 8259A and how many abilities each has."""

EXPECTED = {
    "ETSI EN 303 645": [f"{clause}-{number}" for clause, numbers in _EN_303_645.items() for number in numbers.split()],
    "NIST IR 8259A": [f"{name}-{number}" for name, count in _ABILITIES.items() for number in range(1, count + 1)],
    "OWASP IoT Top 10": [f"I{number}" for number in range(1, 11)],
}

_SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}|\$argon2id?\$v=\d+\$m=\d+[^\s\"']{60}|AKIA[0-9A-Z]{16}|"
    rb"[a-z]+://[A-Za-z0-9_.-]+:(?!\{|PASSWORD|secret|password)[^@\s/\"'{}]{6,}@[a-z0-9]"
)


def _provisions() -> list[Provision]:
    return [one for standard in standards() for one in standard.provision]


@pytest.mark.parametrize("name", EXPECTED)
def test_no_provision_is_missing_and_each_stands_once_in_order(name: str) -> None:
    (standard,) = (one for one in standards() if one.name == name)
    assert [one.id for one in standard.provision] == EXPECTED[name]


def test_every_provision_is_met_by_tests_or_left_out_for_a_reason() -> None:
    assert {standard.name for standard in standards()} == set(EXPECTED)
    short = [one.id for one in _provisions() if one.left_out and len(one.left_out.split()) < 4]
    assert not short, "a reason says more than that"
    assert not [one.id for one in _provisions() if one.tests and not one.how.strip()]


def test_every_test_that_is_named_is_collected() -> None:
    modelled = re.findall(r"`(tests/[\w/]+\.py::\w+)`", (PAGE.parent / "README.md").read_text("utf-8"))
    assert len(modelled) > 25
    named = sorted({test for one in _provisions() for test in one.tests} | set(modelled))
    assert len(named) > 50
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "-p", "no:xdist", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    found = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert [test for test in named if test not in found] == [], done.stdout[-2000:] + done.stderr[-2000:]


def test_the_page_is_what_the_table_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(standards()), "python -m deploy.security"


def test_no_secret_is_in_the_sources() -> None:
    folders = ("calibration", "deploy", "device", "docs", "models", "requirements")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and "build" not in path.parts]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    found = {str(path.relative_to(ROOT)): match[0][:60] for path in files if (match := _SECRETS.search(path.read_bytes()))}
    assert not found
    assert _SECRETS.search(b"-----BEGIN PRIVATE KEY-----\n" + b"M" * 64)
    assert _SECRETS.search(b"mqtt://box-7:hunter2hunter2@broker.example")


def _section(title: str) -> str:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def test_the_policy_says_whom_to_tell_by_when_and_for_how_long() -> None:
    assert re.search(r"\| who reads reports \|.*\|", _section("To report a weakness")), "to be filled in by who hands boxes on"
    assert len(re.findall(r"within \d+ (?:working )?days", _section("To report a weakness"))) >= 2
    assert re.search(r"\d+ months", _section("Which versions are mended"))
    for title in ("A box set up securely", "When a box leaves", "Of people", "Keys of updates"):
        assert len(_section(title).split()) > 40, title


def test_the_policy_names_nobody_who_is_not_there_and_no_command_that_is_none() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    hosts = re.findall(r"https?://([\w.-]+)", text)
    assert all(host.endswith(("example", "example.org")) for host in hosts)
    assert not re.findall(r"[\w.]+@[\w.-]+\.\w+", text)
    named = set(re.findall(r"`(?:sudo )?holonode ([a-z]+)", text))
    assert named
    assert named <= set(_COMMANDS)
