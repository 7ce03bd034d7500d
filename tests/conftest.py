"""Shared fixtures. Recorded holograms are read where they lie and never copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres


def real_data_folder() -> Path:
    named = os.environ.get("HOLONODE_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder / "holograms" if (folder / "holograms").is_dir() else folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of recorded holograms; skips where it is missing, fails where CI=true."""
    folder = real_data_folder()
    if folder.is_dir():
        return folder
    reason = f"recorded holograms not found at {folder}; set HOLONODE_REAL_DATA to their folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL that is running; skips where there is none, fails where CI=true."""
    reason = postgres.missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    made = postgres.Cluster.made()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def database(cluster: postgres.Cluster) -> str:
    """The address of one with the fleet's tables, and nothing in them."""
    from deploy.fleet.database import connect
    from deploy.fleet.schema import migrate

    address = cluster.new_database()
    with connect(address) as connection:
        migrate(connection)
    return address
