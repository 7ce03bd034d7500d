"""Whatever is committed, refused, sent, confirmed, killed: numbers never repeat, order holds, nothing that waits is lost or counted
twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device.errors import TransientError
from device.storage.outbox import Outbox
from tests.unit.test_outbox import events

RESEND_AFTER_S = 60.0


class OutboxMachine(RuleBasedStateMachine):
    """A box's life beside a model of what it must hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now_s = 0.0
        self.waiting: set[int] = set()
        self.out: dict[int, float] = {}
        self.highest = 0
        self.refused = 0
        self.acks_refused = 0
        self.restarted = False
        self._open()

    def _open(self) -> None:
        self.outbox = Outbox(Path(self.folder.name), "box", resend_after_s=RESEND_AFTER_S, monotonic=lambda: self.now_s)
        self.out.clear()
        self.acks_refused = 0
        self.live_from = self.highest + 1
        self.published_to = self.highest

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            self.folder.cleanup()

    @rule(count=st.integers(0, 6))
    def commit(self, count: int) -> None:
        first = self.highest + 1
        records = self.outbox.commit(events(count))
        assert [record.seq for record in records] == list(range(first, first + count))
        self._kept(count)

    @rule(count=st.integers(0, 60))
    def commit_on_a_short_disk(self, count: int) -> None:
        self.outbox._room.min_free_bytes = 2**62
        before = (self.outbox.next_seq, self.outbox.get_state("x"))
        try:
            self.outbox.commit(events(count), {"x": str(self.highest)})
        except TransientError:
            assert (self.outbox.next_seq, self.outbox.get_state("x")) == before
            self.refused += count
        else:
            self._kept(count)
        self.outbox._room.min_free_bytes = 0

    def _kept(self, count: int) -> None:
        """So many records, and behind them the event that tells of what was refused, where something was."""
        told = bool(self.refused)
        self.waiting |= set(range(self.highest + 1, self.highest + 1 + count + told))
        self.highest += count + told
        if told:
            row = self.outbox.pending(1, after_seq=self.highest - 1)[0]
            event = msgspec.json.decode(row.body)
            assert (event["code"], event["value"]) == ("records_refused", float(self.refused))
            self.refused = 0

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        # Also some that are done already, and some that never were.
        seqs = data.draw(st.lists(st.integers(0, self.highest + 3), max_size=30))
        self.outbox.delivered(seqs)
        self._settle(seqs)

    @rule(limit=st.integers(0, 30))
    def publish(self, limit: int) -> None:
        seqs = [row.seq for row in self.outbox.pending(limit)]
        self.outbox.published(seqs)
        self.out.update(dict.fromkeys(seqs, self.now_s))
        self.published_to = max(self.published_to, *seqs, 0)

    @rule(data=st.data(), ours=st.booleans())
    def confirm(self, data: st.DataObject, ours: bool) -> None:
        # Beyond what a restarted box has published is another matter: it makes it open another spool.
        seq = data.draw(st.integers(0, self.published_to if self.restarted else self.highest + 3))
        settled = [number for number in self.out if number <= seq] if ours and seq <= self.published_to else []
        self.acks_refused += ours and seq > self.published_to
        assert self.outbox.confirmed_to(self.outbox.spool_id if ours else "another", seq) == len(settled)
        self._settle(settled)

    def _settle(self, seqs: list[int]) -> None:
        self.waiting -= set(seqs)
        for seq in seqs:
            self.out.pop(seq, None)

    @rule()
    def lose_what_is_out(self) -> None:
        self.outbox.unpublished()
        self.out.clear()

    @rule(seconds=st.sampled_from((1.0, RESEND_AFTER_S / 2, RESEND_AFTER_S + 1)))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(keep=st.integers(0, 3))
    def prune(self, keep: int) -> None:
        self.outbox.prune(keep=keep)

    @rule()
    def go_live(self) -> None:
        self.outbox.begin_live()
        self.live_from = self.highest + 1

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self._open()
        self.restarted = True

    @precondition(lambda self: self.highest)
    @rule()
    def kill(self) -> None:
        """Deliveries that were not written yet wait again."""
        self.waiting |= self.outbox._done
        self.outbox._waiting += len(self.outbox._done)
        self.outbox._done.clear()
        self.outbox.close()
        self._open()
        self.restarted = True

    @invariant()
    def holds_what_it_must(self) -> None:
        if not hasattr(self, "outbox"):
            return
        due = [seq for seq in sorted(self.waiting) if seq not in self.out or self.out[seq] <= self.now_s - RESEND_AFTER_S]
        pending = self.outbox.pending(10_000)
        assert [row.seq for row in pending] == due
        assert [row.seq for row in self.outbox.pending_history(10_000)] == [seq for seq in due if seq < self.live_from]
        assert [row.seq for row in self.outbox.pending_live(10_000)] == [seq for seq in due if seq >= self.live_from]
        assert all(row.historical == (row.seq < self.live_from) for row in pending)
        assert [msgspec.json.decode(row.body)["seq"] for row in pending] == due

    @invariant()
    def counts_rightly(self) -> None:
        if not hasattr(self, "outbox"):
            return
        assert self.outbox.depth() == len(self.waiting)
        assert self.outbox.next_seq == self.highest + 1
        assert self.outbox.unconfirmed == len(self.out)
        assert self.outbox.counters.acks_refused == self.acks_refused
        oldest = self.outbox.oldest_waiting
        assert (oldest.seq if oldest else None) == min(self.waiting, default=None)


OutboxMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_no_life_of_a_box_loses_renumbers_or_miscounts_what_waits = OutboxMachine.TestCase
