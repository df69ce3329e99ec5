"""The books: what was accepted, claimed, sent and recorded, and the laws that these must keep.

Nothing here shares code with what is tested, but for the types that pass between its parts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from simulation.virtual import now_ms

from reconciler.model.delivery import DeliveryStatus
from reconciler.model.outcome import RETRY_AFTER_MS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.delivery import Claim, Fence, NewEvent, Settlement
    from reconciler.model.exchange import Reply, Request
    from reconciler.model.hook import OutgoingHook
    from reconciler.store.memory.contents import Contents, Row

FAILURES = 10
OPEN_MS = (30_000, 60_000, 120_000, 240_000, 300_000)
TICK_MS = 1
"""Ends of attempts are known to the millisecond only."""
NOTICED_MS = 3_000
"""So long after a 410 is recorded every worker must know of it."""
OWN_ERRORS = {"egress", "unrenderable", "internal"}
ENDS = set(DeliveryStatus) - {DeliveryStatus.PENDING, DeliveryStatus.SENDING}


@dataclass(slots=True)
class Entry:
    """What is known of one delivery. Counts are over all rounds."""

    hook_id: str
    payload: bytes
    claims: int = 0
    settled: int = 0
    released: int = 0
    sends: int = 0
    cut_off: int = 0
    fence: Fence | None = None
    lease_until_ms: int = 0
    earliest_ms: int = 0
    end: DeliveryStatus | None = None


@dataclass(slots=True)
class Circuit:
    """What one worker must know of one receiver: when it may ask again, and how many probes are out."""

    generation: int = 0
    streak: int = 0
    openings: int = 0
    shut_until_ms: int = 0
    quiet_until_ms: int = 0
    probes: int = 0
    in_flight: int = 0

    def renew(self) -> None:
        """Begin again; what is under way tells nothing of the new beginning's probes."""
        self.generation += 1
        self.streak = self.openings = self.shut_until_ms = self.quiet_until_ms = self.probes = 0


@dataclass(slots=True)
class Sending:
    """A request under way."""

    delivery_id: str
    hook_id: str
    circuit: Circuit
    probe_of: int | None
    """The generation of the circuit that it probes."""

    @property
    def is_probe(self) -> bool:
        """Whether what comes of it opens or closes the breaker."""
        return self.probe_of == self.circuit.generation


@dataclass
class Ledger:
    """Every law is checked where it could be broken; `close` checks what must hold at the end."""

    contents: Contents
    entries: dict[str, Entry] = field(default_factory=dict)
    hooks: set[str] = field(default_factory=set)
    attempts_max: Counter[str] = field(default_factory=Counter)
    concurrency_max: Counter[str] = field(default_factory=Counter)
    disabled_ms: dict[str, int] = field(default_factory=dict)
    circuits: defaultdict[tuple[str, str], Circuit] = field(default_factory=lambda: defaultdict(Circuit))
    counts: Counter[str] = field(default_factory=Counter)

    # -- configuration ---------------------------------------------------------------------------------------

    def configured(self, hook: OutgoingHook, *, renewed: bool) -> None:
        """A hook is as it is now. Renewed, it may be asked at once, whatever was known of its receiver."""
        self.hooks.add(hook.id)
        self.attempts_max[hook.id] = max(self.attempts_max[hook.id], hook.retry.attempts)
        self.concurrency_max[hook.id] = max(self.concurrency_max[hook.id], hook.concurrency)
        if hook.enabled:
            self.disabled_ms.pop(hook.id, None)
        else:
            self.disabled_ms.setdefault(hook.id, now_ms())
        if renewed:
            self.renew(hook.id)

    def deleted(self, hook_id: str) -> None:
        """A hook was deleted, and what waited for it cancelled."""
        self.hooks.discard(hook_id)
        for delivery_id, entry in self.entries.items():
            if entry.hook_id == hook_id and delivery_id in self.contents.deliveries:
                self._note_end(delivery_id)

    def renew(self, hook_id: str) -> None:
        """What workers knew of this receiver is no longer held against it."""
        for (_, one), circuit in self.circuits.items():
            if one == hook_id:
                circuit.renew()

    # -- the store -------------------------------------------------------------------------------------------

    def accepted(self, event: NewEvent) -> None:
        """An event was answered 202."""
        for delivery in event.deliveries:
            if delivery.id in self.contents.deliveries:  # left out where the hook is gone
                self.entries[delivery.id] = Entry(delivery.hook_id, event.payload, earliest_ms=event.received_ms)
                self.counts["accepted"] += 1

    def claimed(self, claims: Sequence[Claim], lease_until_ms: int) -> None:
        """No two unexpired claims, none before it is due, none beyond the budget; fences only grow."""
        for claim in claims:
            entry, row = self.entries[claim.delivery_id], self.contents.deliveries[claim.delivery_id]
            now = now_ms()
            assert entry.fence is None or entry.lease_until_ms <= now, f"{claim} while {entry} is held"
            assert entry.end is None, f"{claim} after its end: {entry}"
            assert now >= entry.earliest_ms, f"{claim} {entry.earliest_ms - now} ms too early"
            assert claim.fence.claims > entry.claims, f"the fence of {claim} does not grow"
            assert claim.attempt == self.recorded(row) + 1, f"{claim} has the wrong number"
            assert claim.attempt <= self.attempts_max[claim.hook_id], f"{claim} exceeds the budget"
            entry.claims = claim.fence.claims
            entry.fence, entry.lease_until_ms = claim.fence, lease_until_ms
            self.counts["claims"] += 1

    @staticmethod
    def recorded(row: Row) -> int:
        """How many attempts the present round has on record."""
        return sum(attempt.round == row.round for attempt in row.attempts)

    def looks_like(self, delivery_ids: Sequence[str]) -> dict[str, tuple[object, ...]]:
        """How deliveries stand, to see later whether they changed."""
        rows = {one: self.contents.deliveries.get(one) for one in delivery_ids}
        return {
            one: () if row is None else (row.status, row.due_ms, row.claims, row.owner, row.round, len(row.attempts))
            for one, row in rows.items()
        }

    def settled(
        self,
        settlements: Sequence[Settlement],
        kept: Sequence[bool],
        before: dict[str, tuple[object, ...]],
        hooks: dict[str, OutgoingHook],
    ) -> None:
        """A lost fence changes nothing; a good one records one attempt and says when the next may come."""
        for settlement, counted in zip(settlements, kept, strict=True):
            entry = self.entries[settlement.delivery_id]
            if not counted:
                after = self.looks_like([settlement.delivery_id])
                assert after[settlement.delivery_id] == before[settlement.delivery_id], (
                    f"{settlement} moved something"
                )
                assert entry.fence != settlement.fence, f"{settlement} was held and did not count"
                self.counts["lost"] += 1
                continue
            assert entry.fence == settlement.fence, f"{settlement} counted without the fence {entry.fence}"
            entry.fence = None
            entry.settled += 1
            row = self.contents.deliveries[settlement.delivery_id]
            if row.status in ENDS:
                self._ended(entry, row)
            else:
                entry.earliest_ms = self._earliest(settlement, hooks.get(entry.hook_id))
            self.counts["settled"] += 1

    def _earliest(self, settlement: Settlement, hook: OutgoingHook | None) -> int:
        """When the next attempt may come at the earliest, as the schedule has it, less its jitter."""
        attempt = settlement.attempt
        assert attempt is not None
        ended_ms = attempt.started_ms + attempt.duration_ms
        if hook is None:
            return ended_ms
        waits = hook.retry.schedule_ms
        wait_ms = waits[min(attempt.number, len(waits)) - 1] * (1 - hook.retry.jitter)
        assert settlement.due_ms is not None
        longest_ms = max(waits) * (1 + hook.retry.jitter) + RETRY_AFTER_MS_MAX
        assert settlement.due_ms - ended_ms <= longest_ms + 1, f"{settlement} waits too long"
        return ended_ms + int(wait_ms) - 1

    def _ended(self, entry: Entry, row: Row) -> None:
        assert entry.end is None, f"{row} ends twice"
        entry.end = row.status
        recorded = self.recorded(row)
        assert 0 < recorded <= self.attempts_max[row.hook_id], f"{row} has {recorded} attempts"
        last = row.attempts[-1]
        success = last.status is not None and 200 <= last.status < 300
        assert (row.status is DeliveryStatus.DELIVERED) == success, f"{row} ended otherwise than its last attempt"
        self.counts[row.status.value] += 1

    def released(self, claims: Sequence[tuple[str, str, int]], owner: str) -> None:
        """Claims were given back."""
        for delivery_id, _, count in claims:
            entry = self.entries[delivery_id]
            if entry.fence == (count, owner):
                entry.fence = None
                entry.released += 1
                self._note_end(delivery_id)

    def _note_end(self, delivery_id: str) -> None:
        """What was cancelled with its hook ended without an attempt."""
        row, entry = self.contents.deliveries[delivery_id], self.entries[delivery_id]
        if row.status in ENDS and entry.end is None:
            entry.end = row.status
            self.counts[row.status.value] += 1

    def redelivered(self, delivery_id: str) -> None:
        """A new round began."""
        entry = self.entries[delivery_id]
        assert entry.end is not None
        entry.end, entry.fence, entry.earliest_ms = None, None, now_ms()
        self.counts["redelivered"] += 1

    def pruned(self) -> None:
        """What retention removed had ended, but for what nobody held any more when its hook was deleted."""
        for delivery_id, entry in self.entries.items():
            row = self.contents.deliveries.get(delivery_id)
            if entry.end is None and (row is None or row.status in ENDS):
                assert entry.hook_id not in self.hooks, f"{delivery_id} was ended or removed alive"
                assert entry.lease_until_ms <= now_ms(), f"{delivery_id} was ended while it was held"
                entry.end, entry.fence = DeliveryStatus.CANCELLED, None
                self.counts["cancelled"] += 1

    # -- the network -----------------------------------------------------------------------------------------

    def sending(self, worker: str, hook: OutgoingHook, request: Request, *, calm_ms: int) -> Sending:
        """A worker asks for a request to be sent: rightly? It has worked undisturbed since `calm_ms`."""
        headers = dict(request.headers)
        delivery_id = headers["X-ChatThing-Delivery-Id"]
        body = orjson.loads(request.body)
        entry, now = self.entries[delivery_id], now_ms()
        assert headers["webhook-id"] == body["deliveryId"] == delivery_id
        assert {**body, "deliveryId": None} == {**orjson.loads(entry.payload), "deliveryId": None}
        assert entry.hook_id == hook.id
        assert now - self.disabled_ms.get(hook.id, now) <= 50, f"{hook.address} is disabled"
        gone_ms = self.contents.hooks[hook.id].gone_ms
        assert gone_ms is None or now - max(gone_ms, calm_ms) <= NOTICED_MS, f"{hook.address} is gone"
        circuit = self.circuits[worker, hook.id]
        assert now >= circuit.quiet_until_ms - TICK_MS, f"{hook.address} asked to be left alone at {now}: {circuit}"
        assert now >= circuit.shut_until_ms - TICK_MS, f"{hook.address} has an open breaker at {now}: {circuit}"
        is_probe = circuit.openings > 0
        assert not (is_probe and circuit.probes), f"{hook.address} is probed twice: {circuit}"
        circuit.probes += is_probe
        circuit.in_flight += 1
        assert circuit.in_flight <= self.concurrency_max[hook.id], f"{hook.address} has {circuit}"
        entry.sends += 1
        assert entry.sends <= entry.claims, f"{delivery_id} was sent more often than claimed"
        self.counts["sends"] += 1
        return Sending(delivery_id, hook.id, circuit, circuit.generation if is_probe else None)

    def answered(self, sending: Sending, reply: Reply | None, error: str | None, quiet_ms: int | None) -> None:
        """The worker has its answer: what follows for this receiver. `quiet_ms` is what a `Retry-After` asks for."""
        circuit, now = sending.circuit, now_ms()
        if quiet_ms:
            circuit.quiet_until_ms = max(circuit.quiet_until_ms, now + quiet_ms)
        if reply is not None and 200 <= reply.status < 300:
            circuit.streak = circuit.openings = circuit.shut_until_ms = 0
        elif not (quiet_ms or error in OWN_ERRORS or (reply is not None and reply.status == 410)):
            circuit.streak += 1
            if sending.is_probe or (circuit.openings == 0 and circuit.streak >= FAILURES):
                circuit.shut_until_ms = now + OPEN_MS[min(circuit.openings, len(OPEN_MS) - 1)]
                circuit.openings += 1
                self.counts["openings"] += 1

    def over(self, sending: Sending, *, cut_off: bool) -> None:
        """A request is over, answered or not."""
        sending.circuit.probes -= sending.is_probe
        sending.circuit.in_flight -= 1
        self.entries[sending.delivery_id].cut_off += cut_off
        self.counts["cut_off"] += cut_off

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self, took: dict[str, int]) -> None:
        """Everything has ended, once, with as many requests as claims allow, and nothing came out of nowhere."""
        for delivery_id, entry in self.entries.items():
            row = self.contents.deliveries.get(delivery_id)
            assert entry.end is not None, f"{delivery_id} has not ended: {row}"
            assert row is None or row.status is entry.end, f"{row} is not what was recorded: {entry}"
            lost = entry.claims - entry.settled - entry.released
            assert lost >= 0, f"{entry} was settled more often than claimed"
            assert entry.sends <= entry.settled + lost + entry.cut_off, f"{entry} was sent without need"
            if entry.end is DeliveryStatus.DELIVERED:
                assert took.get(delivery_id), f"{delivery_id} was not delivered to anybody"
        stray = took.keys() - self.entries.keys()
        assert not stray, f"receivers got what was never accepted: {stray}"
