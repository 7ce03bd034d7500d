"""Every event that the program can tell: by code, how grave it is, what it means, what to do.

A way of sampling lists its own (`SamplingKind.events`); `device.schemas.catalogue` has all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["EVENTS", "EventMeaning", "Severity"]

Severity = Literal["info", "warning", "alarm"]


@dataclass(frozen=True)
class EventMeaning:
    """Of one code."""

    severities: tuple[Severity, ...]
    """That it is told with."""
    meaning: str
    """What happened."""
    remedy: str = "Nothing."
    """What a person does about it."""

    def published(self) -> dict[str, Any]:
        """For a schema."""
        return {"severity": list(self.severities), "meaning": self.meaning, "remedy": self.remedy}


def _warning(meaning: str, remedy: str) -> EventMeaning:
    return EventMeaning(("warning",), meaning, remedy)


def _alarm(meaning: str, remedy: str) -> EventMeaning:
    return EventMeaning(("alarm",), meaning, remedy)


def _info(meaning: str, remedy: str = "Nothing.") -> EventMeaning:
    return EventMeaning(("info",), meaning, remedy)


_KEPT = "Records are kept meanwhile."

EVENTS: Mapping[str, EventMeaning] = {
    # The box as a whole.
    "armed": EventMeaning(
        ("info", "warning"), "Somebody armed the box; a warning where checks failed, `value` says why it was armed all the same.",
        "At a warning: mend what failed, then `holonode arm` again.",
    ),
    "command": EventMeaning(
        ("info", "warning"), "A command, over MQTT or on the dashboard, was carried out or came to an error.", "At a warning: do what the message says.",
    ),
    "settings_refused": _warning(
        "Settings that were changed from afar don't fit this configuration any more; the file's hold.", "Send `set` again where they are still wanted.",
    ),
    "hardware_failed": _alarm("A sample was lost because a part of the instrument failed; `value` counts them.", "Look at the part that the message names: `holonode doctor`."),
    "start_waits": _warning("A part that the start needs isn't there yet: a full disk, a controller that isn't plugged in. It is tried again, ever later.", "Do what the message says."),
    "samples_missed": _warning("The schedule had samples while the box was off; `value` counts them.", "See to its supply where it should have been on."),
    "frames_unchecked": _warning("Frames held more particles than are checked against the hologram; `value` counts them.", "Dilute, sample less, or raise analysis.refine_most_particles."),
    "model_failed": _alarm(
        "A model failed its checks: the last good version is in use, or it is left out and the records say so.", "Install it again from where it was released: `holonode models verify` tells what is wrong.",
    ),
    "model_restored": _info("Every model that the configuration names is in use again."),
    # The clock.
    "clock_set": _info("The wall clock was set by `value`; records are in order by seq."),
    "clock_synchronised": _info("The wall clock is known to be right; the stamps of `value` records that waited were corrected."),
    # The camera.
    "camera_lost": _alarm("The camera gives no frames and is opened again, ever later.", "Check its cable and supply, where it doesn't come back."),
    "camera_recovered": _info("The camera gives frames again, after `value`."),
    "camera_slow_close": _warning("The camera took longer than `value` to close and was left.", "Start the box again where frames stay away."),
    "camera_close_failed": _warning("The camera could not be closed.", "Start the box again where frames stay away."),
    # The optics.
    "optics_drift": _warning("A figure of the optics departs from its baseline by `value`.", "Do what the message says: clean, or look at lamp and focus."),
    "optics_restored": _info("A figure of the optics is back at its baseline."),
    # The store.
    "storage_refused": _alarm("A sample's records could not be kept; `value` counts refusals.", "Free disk space; `holonode doctor` tells how much there is."),
    "records_refused": _alarm("`value` records could not be kept: the disk was full or failed.", "Free disk space, or replace the disk."),
    "record_lost": _alarm("`value` records were damaged in the store; told under the key of each that waited.", "Replace the disk where it happens again."),
    "store_salvaged": _alarm("The store was damaged and built anew from what was whole; `value` records are lost.", "Replace the disk where it happens again."),
    "state_lost": _alarm("`value` values kept beside the records were damaged and begin anew.", "Replace the disk where it happens again."),
    "store_copied": _alarm("The store was copied or put back; records go on under a new spool.", "Let no two boxes run from one copy."),
    "store_overtaken": _alarm("The far end has records that this store never sent: it was put back; records go on under a new spool.", "Let no two boxes run from one copy."),
    "history_rebuilt": _warning("The history that pages read was lost or damaged; it was built anew from the `value` intervals that the store still held.", "Records are not touched by it. Replace the disk where it happens again."),
    "history_behind": _warning("The history that pages read can't be written; it catches up from the records once it can.", "Do what the message says: mostly free disk space."),
    # The way to the broker.
    "broker_lost": _warning("No broker answers, or the connection ended. " + _KEPT, "Check the network and mqtt.url, where it stays so."),
    "broker_refused": _warning("The broker refuses the connection. " + _KEPT, "Check account and rights at the broker, as the message says."),
    "broker_untrusted": _warning("No safe connection to the broker. " + _KEPT, "Check mqtt.ca_file, the broker's certificate, and both clocks."),
    "broker_silent": _warning("The broker acknowledges nothing. " + _KEPT, "Look at the broker's log."),
    "broker_limits": _warning("The broker sets limits that the box keeps to, by leaving out or sending unacknowledged.", "Raise them at the broker where more is wanted."),
    "protocol_switched": _warning("The broker takes no connection by one version of MQTT; the other is tried.", "mqtt.protocol can fix one."),
    "subscribe_refused": _warning("The broker doesn't let the box read some topics.", "Let it read what the message names."),
    "publish_refused": _warning("The broker refuses what is published. " + _KEPT, "Let the box write below its own topics."),
    "no_subscriber": _warning("Nobody listens to the records, with delivery.confirm = collector. " + _KEPT, "Start a collector."),
    "not_confirmed": _warning("The broker took records that no collector confirms. They are kept and sent again.", "Start a collector, or look at its log."),
    "ack_without_first": _warning("A collector confirms without `first`, which settles nothing while an earlier record waits.", "Let it say {spool_id, seq, first}."),
    "record_set_aside": _warning("A record can't be delivered and is tried again later; others go on.", "Do what the message says: mostly a limit of the broker."),
    "message_shortened": _warning("A message was larger than the broker takes; it was shortened or left out.", "Raise the broker's limit on packets."),
    "identity_contended": _warning("Another client connects under this box's name. " + _KEPT, "Give each box a device.id of its own."),
    "certificate_expiring": _warning("This device's certificate ends soon.", "Put another in its place; no restart is needed."),
    "certificate_rejected": _warning("The certificate's files can't be used. " + _KEPT, "Mend the files that the message names."),
    "broker_port_taken": _info("The service's own broker has another port than usual.", "Set mqtt.own_broker_port where it should be one."),
    "broker_restarted": _warning("The service's own broker ended or hung, and was started again.", "Look at its log where it happens again."),
    "broker_down": _alarm("The service's own broker doesn't start again. " + _KEPT, "Do what the message says, or name another in mqtt.url."),
}  # fmt: skip
"""Those of every box, by code."""
