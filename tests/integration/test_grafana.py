"""Every SQL statement of the dashboards for Grafana, against the real tables; Grafana itself is not at hand."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from deploy.fleet.database import connect
from deploy.fleet.store import Store
from device.records import iso_time
from tests.integration.test_fleet_hours import interval
from tests.postgres import Cluster
from tests.services import ROOT

_FOLDER = ROOT / "deploy" / "grafana"


def _statements(value: Any) -> list[str]:
    """What a dashboard asks: of panels `rawSql`, of variables `query`."""
    if isinstance(value, list):
        return [one for item in value for one in _statements(item)]
    if not isinstance(value, dict):
        return []
    own = [value["rawSql"]] if "rawSql" in value else [value["query"]] if value.get("type") == "query" else []
    return own + [one for item in value.values() for one in _statements(item)]


def _filled(statement: str) -> str:
    """As Grafana fills it in."""
    told = re.sub(r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)", r"\1 BETWEEN now() - interval '7 days' AND now()", statement)
    return told.replace("$box", "'a', 'b'").replace("$label", "'birch'")


def test_a_reader_can_run_every_statement_and_what_counts_is_there(cluster: Cluster, database: str) -> None:
    now = iso_time(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    with contextlib.closing(Store(database)) as store:
        store.commit([interval("a", 2, now, volume_m3=0.01), interval("b", 3, now, volume_m3=0.02)])
    with connect(database) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE reads LOGIN IN ROLE holonode_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    found: dict[str, int] = {}
    with connect(cluster.address(database.rsplit("/", 1)[-1], "reads")) as connection:
        connection.execute("SET search_path TO public")
        for file in sorted(_FOLDER.glob("*.json")):
            for statement in _statements(json.loads(file.read_text())):
                assert "$" not in _filled(statement)
                found[statement] = len(connection.execute(_filled(statement).encode()).fetchall())
    assert len(found) == 8
    # Two boxes have a concentration; nothing was detected one by one, and no alarm stands.
    assert sorted(found.values()) == [0, 0, 1, 2, 2, 2, 2, 2]
