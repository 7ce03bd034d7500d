"""How the box stands: one frozen value that the loop makes. Stats, info, Home Assistant, support bundle and web read it.

Whoever watches gets the newest through a mailbox of one; nobody who reads slowly, or not at all, holds the loop up.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct, structs

from device.drivers.ports import PumpState
from device.frames import LampState, RawFrame
from device.messaging.payloads import Health, Info, Stats
from device.records import Interval, Stamp, iso_time

__all__ = ["Activity", "LampAcknowledged", "LastFrame", "Mailbox", "PumpAcknowledged", "State", "StateBoard"]

Activity = Literal["starting", "sampling", "analysing", "waiting", "paused", "stopping", "failed"]


class LampAcknowledged(Struct, frozen=True, kw_only=True):
    """What the lamp acknowledged last, never what was asked of it."""

    on: bool
    """Whether it is on, and confirmed to be."""
    acknowledged: bool
    """Whether the controller itself confirmed this state."""
    current_ma: float
    """Current in force; 0 is off."""
    channel: int
    """Channel of the controller; 0 is the imaging lamp."""

    @classmethod
    def of(cls, lamp: LampState) -> LampAcknowledged:
        """As the driver has it."""
        return cls(on=lamp.is_on, acknowledged=lamp.acknowledged, current_ma=lamp.current_ma, channel=lamp.channel)


class PumpAcknowledged(Struct, frozen=True, kw_only=True):
    """What the pump acknowledged last."""

    on: bool
    """Whether it moves something, and is confirmed to."""
    acknowledged: bool
    """Whether the controller itself confirmed this state."""
    flow_ml_min: float
    """Flow in force; 0 is off."""
    valve_open: bool
    """Whether the valve is open."""

    @classmethod
    def of(cls, pump: PumpState) -> PumpAcknowledged:
        """As the driver has it."""
        on = pump.acknowledged and pump.flow_ml_min > 0
        return cls(on=on, acknowledged=pump.acknowledged, flow_ml_min=pump.flow_ml_min, valve_open=pump.valve_open)


class LastFrame(Struct, frozen=True, kw_only=True):
    """What the camera gave last."""

    frame: int
    """Number of the frame in its source, from 0."""
    taken_at: Stamp
    """When it was taken, UTC."""
    exposure_us: float
    """The exposure that was, read back from the sensor."""
    gain: float
    """Analogue gain that was."""
    lamp_on: bool
    """Whether the lamp was on, and confirmed to be, for this frame."""

    @classmethod
    def of(cls, frame: RawFrame) -> LastFrame:
        """As the driver gave it."""
        exposure = frame.exposure
        return cls(
            frame=frame.index, taken_at=iso_time(frame.captured_at), exposure_us=exposure.exposure_us, gain=exposure.gain,
            lamp_on=frame.lamp.is_on,
        )  # fmt: skip


class State(Struct, frozen=True, kw_only=True):
    """The box at one moment."""

    at: Stamp
    """When the loop made this, UTC; it does so with everything that it begins, four times a second while it waits."""
    device_id: str
    """The box."""
    boot_id: str
    """Of this run of the service, a ULID."""
    version: str
    """Of Holonode."""
    started_at: Stamp
    """When the service started, UTC."""
    doing: Activity
    """What it is at. waiting: between two samples; paused: until somebody says start; failed: the last sample came to nothing and
    another one is tried."""
    doing_words: str
    """The same for a person, more closely."""
    doing_since: Stamp
    """Since when it is at `doing`, UTC."""
    next_at: Stamp | None = None
    """When the next sample begins, UTC; None: not known, or one is under way."""
    health: Health | None = None
    """The last checks; None: none were made yet."""
    stats: Stats | None = None
    """Figures, once a minute; None: none were made yet."""
    info: Info
    """What this box is."""
    lamp: LampAcknowledged | None = None
    """As it acknowledged last; None: there is none yet."""
    pump: PumpAcknowledged | None = None
    """As it acknowledged last; None: there is none yet."""
    camera: LastFrame | None = None
    """The last frame; None: none since the start."""
    last_interval: Interval | None = None
    """The last interval's record, from before the start where none was made since; None: the store holds none."""
    link: str
    """Where the connection to the broker stands: starting, connected, refused, lost, stopped."""
    simulated: tuple[str, ...] = ()
    """Parts of the instrument that are simulated; empty: none."""


Value = TypeVar("Value")


class Mailbox(Generic[Value]):
    """Holds one value, the newest; to put one never waits. One reader, any number of writers."""

    def __init__(self, on_filled: Callable[[], None] = lambda: None) -> None:
        """`on_filled` is called in the writer's thread when a value comes into the empty box; it must not wait."""
        self._on_filled = on_filled
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._value: Value | None = None

    def put(self, value: Value) -> None:
        """In place of the one that nobody took."""
        with self._lock:
            self._value = value
            was_filled = self._filled.is_set()
            self._filled.set()
        if not was_filled:
            with contextlib.suppress(RuntimeError):  # an event loop that is closed has no use for it
                self._on_filled()

    def take(self, timeout_s: float | None = 0.0) -> Value | None:
        """The newest since the last was taken; None where there is none within `timeout_s` (None: waits for ever)."""
        if not self._filled.wait(timeout_s):
            return None
        with self._lock:
            value, self._value = self._value, None
            self._filled.clear()
        return value


_SELDOM = ("at",)
"""Fields that change with nothing else of interest: told with the rest, or once a second."""
_TOLD_EVERY_S = 1.0


class StateBoard:
    """Where the newest state hangs; safe to read and to watch from any thread."""

    def __init__(self, state: State, monotonic: Callable[[], float]) -> None:
        self._state, self._monotonic = state, monotonic
        self._lock = threading.Lock()
        self._mailboxes: tuple[Mailbox[State], ...] = ()
        self._told_s = monotonic()

    def now(self) -> State:
        """The newest."""
        return self._state

    def change(self, **fields: Any) -> State:
        """Hang another one, with these fields changed."""
        with self._lock:
            before = self._state
            self._state = state = structs.replace(before, **fields)
            now_s = self._monotonic()
            differs = any(getattr(before, name) != value for name, value in fields.items() if name not in _SELDOM)
            if not differs and now_s - self._told_s < _TOLD_EVERY_S:
                return state
            self._told_s = now_s
        for mailbox in self._mailboxes:
            mailbox.put(state)
        return state

    def subscribe(self, on_filled: Callable[[], None] = lambda: None) -> Mailbox[State]:
        """A mailbox that gets every change from here on, the newest in place of what was not taken; the state as it is lies in it."""
        mailbox: Mailbox[State] = Mailbox(on_filled)
        with self._lock:
            self._mailboxes = (*self._mailboxes, mailbox)
        mailbox.put(self._state)
        return mailbox

    def unsubscribe(self, mailbox: Mailbox[State]) -> None:
        """Put nothing into it any more; safe to call twice."""
        with self._lock:
            self._mailboxes = tuple(other for other in self._mailboxes if other is not mailbox)
