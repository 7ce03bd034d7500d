"""How the box stands, for Prometheus: text exposition format 0.0.4, names and base units by its conventions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from device.web.api.box import States
from device.web.serving.answers import Content
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["CONTENT_TYPE", "MetricsEndpoints", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_CHECKS = {"ok": 0, "not evaluated": 0, "warning": 1, "failed": 2}
_PER_CUBIC_METRE = {"m^-3": 1.0, "L^-1": 1e3, "mL^-1": 1e6}
_COUNTERS = {
    "intervals": ("intervals_total", "Intervals made since the start."),
    "detections": ("detections_total", "Particles found since the start."),
    "intervals_lost": ("intervals_lost_total", "Intervals that came to nothing: hardware or store failed."),
    "frames_unchecked": ("frames_unchecked_total", "Frames with more particles than are checked against the hologram."),
    "published": ("records_delivered_total", "Records delivered since the start."),
    "publishes_refused": ("publishes_refused_total", "Publishes that the broker refused."),
}
_GAUGES = {
    "uptime_s": ("uptime_seconds", "Since the service started."),
    "outbox_depth": ("outbox_records", "Records that wait to be delivered."),
    "oldest_waiting_s": ("oldest_waiting_seconds", "For how long the first of them has waited."),
    "last_analysis_s": ("last_analysis_seconds", "That the last interval's frames took."),
}
_ENVIRONMENT = {
    "temperature_c": ("temperature_celsius", 1.0), "humidity_percent": ("relative_humidity_ratio", 0.01),
    "pressure_hpa": ("pressure_pascals", 100.0), "supply_v": ("supply_volts", 1.0),
}  # fmt: skip
_ESCAPED = {ord("\\"): "\\\\", ord(chr(34)): "\\" + chr(34), 10: "\\n"}

_Value = float | int | bool
_Sample = tuple[dict[str, str], _Value | None]


class MetricsEndpoints:
    """The route; who may read the box may scrape it."""

    def __init__(self, states: States) -> None:
        self._states = states

    def endpoints(self) -> list[Endpoint]:
        """Of metrics."""
        return [Endpoint("GET", "/metrics", "viewer", self._metrics)]

    def _metrics(self, _request: HttpRequest) -> Content:
        return Content(exposition(msgspec.to_builtins(self._states.now())).encode(), CONTENT_TYPE)


def exposition(state: Mapping[str, Any]) -> str:
    """The state of a box (`service.state.State` in plain values) as Prometheus reads it."""
    lines: list[str] = []
    for name, kind, meaning, samples in _families(state):
        told = [(labels, value) for labels, value in samples if value is not None]
        if told:
            lines += [f"# HELP holonode_{name} {meaning}", f"# TYPE holonode_{name} {kind}"]
            lines += [f"holonode_{name}{_labels(labels)} {float(value)!r}" for labels, value in told]
    return "\n".join([*lines, ""])


def _families(state: Mapping[str, Any]) -> Iterator[tuple[str, str, str, list[_Sample]]]:
    """(name, type, meaning, samples) of every metric; a value that nobody knows is left out."""
    who = {name: str(state[name]) for name in ("device_id", "version", "boot_id")}
    yield "info", "gauge", "What this box is.", [(who, 1)]
    yield "activity", "gauge", "What it is at: 1.", [({"doing": str(state["doing"])}, 1)]
    yield "link_connected", "gauge", "Whether the connection to the broker stands.", [({}, state["link"] == "connected")]
    stats = state.get("stats") or {}
    for table, kind in ((_COUNTERS, "counter"), (_GAUGES, "gauge")):
        for key, (name, meaning) in table.items():
            yield name, kind, meaning, [({}, stats.get(key))]
    yield "sampling_started", "gauge", "Whether samples are taken.", [({}, stats["sampling"] == "started" if stats else None)]
    clock = stats.get("clock") or {}
    yield "clock_synchronised", "gauge", "Whether a time daemon holds the wall clock.", [({}, clock.get("synchronised"))]
    yield "clock_uncertainty_seconds", "gauge", "One standard deviation.", [({}, clock.get("uncertainty_s"))]
    surroundings = stats.get("environment") or {}
    for key, (name, scale) in _ENVIRONMENT.items():
        value = surroundings.get(key)
        yield name, "gauge", "Inside the box.", [({}, None if value is None else round(value * scale, 6))]
    lamp = state.get("lamp") or {}
    yield "lamp_on", "gauge", "Whether the lamp is on, as it acknowledged.", [({}, lamp.get("on"))]
    health = state.get("health")
    checks = health["checks"] if health else ()
    yield (
        "health_status",
        "gauge",
        "Worst check: 0 ok, 1 warning, 2 failed.",
        [({}, _CHECKS[health["status"]] if health else None)],
    )
    yield (
        "check_status",
        "gauge",
        "Of each check: 0 ok or not evaluated, 1 warning, 2 failed.",
        [({"check": check["name"]}, _CHECKS[check["status"]]) for check in checks],
    )
    yield from _of_interval(state.get("last_interval"))


def _of_interval(interval: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str, list[_Sample]]]:
    if interval is None:
        return
    ended_s = datetime.fromisoformat(interval["ended_at"]).timestamp()
    yield "last_interval_end_timestamp_seconds", "gauge", "When the last interval ended.", [({}, ended_s)]
    yield "last_interval_qc", "gauge", "QARTOD flag of the last interval: 1 pass to 9 missing.", [({}, interval["qc"])]
    samples: list[_Sample] = [
        ({"label": label, "bound": bound}, told[bound] * _PER_CUBIC_METRE[told["unit"]])
        for label, told in interval["concentration"].items()
        for bound in ("value", "low", "high")
    ]
    yield (
        "concentration_per_cubic_metre",
        "gauge",
        "Of the last interval, with the bounds of its interval of confidence.",
        samples,
    )


def _labels(labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""
