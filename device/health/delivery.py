"""Whether records reach whom they are for: judged by what is delivered, not by a connection that stands."""

from __future__ import annotations

from collections.abc import Sequence

from device.messaging.payloads import Check, CheckStatus
from device.messaging.report import LinkReport
from device.storage.outbox import Outbox

__all__ = ["condition", "link_checks"]

_STALLED_S, _FAILED_S = 60.0, 600.0
"""Records wait and none is delivered: longer than a broker's restart; longer than most outages."""
_MOST_NAMED = 5
"""Of records that don't fit; the others are counted."""


def link_checks(report: LinkReport, outbox: Outbox) -> list[Check]:
    """Delivery, what the broker takes, and whether another client has this one's name."""
    return [_delivery(report, outbox), _broker(report), _identity(report)]


def _delivery(report: LinkReport, outbox: Outbox) -> Check:
    found = _troubles(report)
    worst: CheckStatus = "ok"
    for status, _, _ in found:
        worst = "failed" if "failed" in (worst, status) else "warning"
    return Check(
        name="delivery", status=worst, value=float(outbox.depth()), unit="records wait",
        message="; ".join(message for _, message, _ in found), remedy="; ".join(dict.fromkeys(remedy for *_, remedy in found)),
    )  # fmt: skip


def _troubles(report: LinkReport) -> list[tuple[CheckStatus, str, str]]:
    """(status, message, remedy) of whatever keeps records here."""
    found: list[tuple[CheckStatus, str, str]] = []
    if report.unconfirmable:
        message = "the broker takes QoS 0 alone: records are published, none counts as delivered, all are kept"
        found.append(("failed", message, "Let the broker take QoS 1, or set delivery.confirm = 'collector' and run one"))
    elif report.stalled_s > _STALLED_S:
        state = "connected, yet" if report.state.value == "connected" else f"{report.state.value}:"
        message = f"{state} nothing was delivered for {report.stalled_s:.0f} s while records wait"
        remedy = report.lost.remedy if report.lost is not None else "Look into the broker's log; does a collector run?"
        found.append(("failed" if report.stalled_s > _FAILED_S else "warning", message, remedy))
    if report.too_large:
        first = [f"record {seq} ({size} bytes)" for seq, size in list(report.too_large.items())[:_MOST_NAMED]]
        more = f" and {len(report.too_large) - len(first)} more" if len(report.too_large) > len(first) else ""
        most = report.limits.most_bytes
        what = "larger than what the broker takes" if most is None else f"larger than the {most} bytes that the broker takes"
        message = f"{what}: {', '.join(first)}{more}; kept"
        found.append(("warning", message, "Raise the broker's largest packet"))
    if report.refused:
        found.append(("warning", f"{report.refused} publishes refused since the start", "Let this device write its topics"))
    return found


def _broker(report: LinkReport) -> Check:
    """What it limits, and how the last connection ended."""
    told: list[str] = [*report.limitations, *(left_out.words() for left_out in report.left_out)]
    remedies: list[str] = []
    if report.left_out:
        remedies.append("Raise the broker's largest packet")
    if not report.limits.retains:
        remedies.append("Let the broker retain messages")
    if report.limits.qos == 0:
        remedies.append("Let the broker take QoS 1")
    if report.lost is not None:
        told.append(
            f"{report.lost.words()} after {report.lost.stood_s:.0f} s, at {report.lost.at}; {report.losses} since the start"
        )
        remedies.append(report.lost.remedy)
    return Check(
        name="broker", status="warning" if remedies else "ok", value=report.state.value, message="; ".join(told),
        remedy="; ".join(dict.fromkeys(remedies)),
    )  # fmt: skip


def _identity(report: LinkReport) -> Check:
    if not report.contended:
        return Check(name="identity", status="ok")
    how = "the broker says so" if report.contention_certain else "connections are cut a moment after they stand"
    return Check(
        name="identity", status="failed", value=float(report.put_out), unit="times put out",
        message=f"another client connects by this box's name ({how})", remedy="Give each box a device.id of its own",
    )  # fmt: skip


def condition(checks: Sequence[Check]) -> str:
    """What of it, changed, is told at once: which check stands how."""
    return ",".join(f"{check.name}={check.status}" for check in checks)
