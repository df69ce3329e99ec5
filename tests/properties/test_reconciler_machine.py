"""A reconciler's life: edits, renames, broken files, stale plans, rotations, two appliers and crashes, in any order.

What must come of it is said by a model that knows nothing of plans: every webhook in the files either continues one
that is applied, with its id and its secret, or is new.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler import config, plan
from reconciler.control.export import export_state, read_export
from reconciler.control.reconcile import Allowance, apply, plan_against
from reconciler.control.reveal import secret_of
from reconciler.control.rotate import rotate
from reconciler.errors import ConfigurationInvalid, PlanStale
from reconciler.model.resource import Desired, Key, Kind, State
from reconciler.plan.compare import differing
from reconciler.plan.render_markdown import render_markdown
from reconciler.store.connect import open_store
from reconciler.store.memory import MemoryStore
from reconciler.store.port import Access
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reconciler.store.port import Commit, Store

BOTS = ["bot-a", "bot-b", "bot-c", "bot-d"]
HANDLES = ["p", "q", "r", "s"]
TYPES = ["conversation.started", "conversation.claimed", "sync.trigger"]
BROKEN = [b"bots: [", b"version: 1\nbots: {x: {webhooks: {h: {type: nonsense}}}}\n", b"\xff", b"[" * 5_000]


class Crash(Exception):
    """The power fails."""


@dataclass(slots=True)
class Webhook:
    """A webhook in the files. `origin` is the applied address it continues, None for a new one."""

    type: str
    origin: str | None = None
    timeout: int = 10
    version: int = 1
    moved_from: str | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """As it stands in YAML."""
        said: dict[str, Any] = {"type": self.type, "secret_version": self.version}
        if self.type == "sync.trigger":
            said |= {"data_source": "docs", "description": str(self.timeout)}
        else:
            said |= {"url": "https://a.example.com/{{conversation.id}}", "timeout": f"{self.timeout}s"}
        return said | ({"moved_from": self.moved_from} if self.moved_from else {})


@dataclass(slots=True)
class Bot:
    """A bot in the files. `origin` is the applied handle it continues."""

    origin: str | None = None
    moved_from: str | None = None
    webhooks: dict[str, Webhook] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """As it stands in YAML."""
        said: dict[str, Any] = {
            "data_sources": {"docs": {"sync": {"command": ["true"]}}},
            "webhooks": {handle: webhook.spec for handle, webhook in self.webhooks.items()},
        }
        return said | ({"moved_from": self.moved_from} if self.moved_from else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an applied webhook must keep."""

    id: str
    secret: str
    type: str
    version: int
    moved_from: str | None


class Disturbed:
    """A store with which something happens at the moment of a commit."""

    def __init__(self, store: Store, disturb: Callable[[], Any] | None = None, *, crashes: bool = False) -> None:
        self._store = store
        self._disturb = disturb
        self._crashes = crashes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
        """Commit, after or in the middle of what happens."""
        if self._disturb is not None:
            await self._disturb()

        def crash(state: State) -> None:
            verify(state)
            raise Crash

        return await self._store.commit(change, now_ms=now_ms, verify=crash if self._crashes else verify)


class ReconcilerMachine(RuleBasedStateMachine):
    """Drives one store, and knows what must be in it."""

    new_mint: Any
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.mint = self.new_mint()
        self.keyring = Keyring([b"k" * 32], mint=self.mint)
        self.store: Any = None
        self.bots: dict[str, Bot] = {}
        self.applied: dict[str, Identity] = {}
        self.ids: set[str] = set()
        self.serial = 0
        self.saved: plan.Plan | None = None
        self.now_ms = 1_000

    # -- the world -----------------------------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """An empty store and one bot in the files."""
        self.store = self.run(self.open())
        self.bots = {"bot-a": Bot(webhooks={"p": Webhook(type=TYPES[0])})}

    def run(self, work: Any) -> Any:
        """The result of a coroutine."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close what was opened."""
        if self.store is not None:
            self.run(self.store.close())
        self.runner.close()

    @property
    def state(self) -> State:
        """The state as stored."""
        return self.run(self.store.read_state())

    def files(self, *, split: bool = False) -> dict[str, bytes]:
        """The configuration as files: one, or one a bot with everything in another order."""
        specs = {handle: bot.spec for handle, bot in self.bots.items()}
        parts = {f"{handle}.yaml": {handle: turned(spec)} for handle, spec in specs.items()} if split else {}
        parts = parts or {"hooks.yaml": specs}
        return {name: json.dumps({"version": 1, "bots": bots}).encode() for name, bots in parts.items()}

    def desired(self, *, split: bool = False) -> Desired:
        """What the files want."""
        return config.load_texts(self.files(split=split), "/config")

    async def carry_out(self, desired: Desired, *, store: Any = None, reviewed: plan.Plan | None = None) -> Any:
        """Apply with everything allowed."""
        self.now_ms += 1
        every = frozenset(address for _, address in (await self.store.read_state()).resources)
        return await apply(
            store or self.store,
            desired,
            keyring=self.keyring,
            mint=self.mint,
            now_ms=self.now_ms,
            allow=Allowance(addresses=every, all=True),
            reviewed=reviewed,
        )

    # -- the model -----------------------------------------------------------------------------------------------

    def webhooks(self) -> Iterator[tuple[str, Bot, str, Webhook]]:
        """Every webhook in the files, with its address."""
        for bot_handle, bot in self.bots.items():
            for handle, webhook in bot.webhooks.items():
                yield f"{bot_handle}/{handle}", bot, handle, webhook

    def held(self, address: str) -> str | None:
        """The applied address that stands at this one, once the bots have their new names."""
        return next((applied for applied in self.applied if self.place_of(applied) == address), None)

    def place_of(self, origin: str) -> str:
        """Where an applied address stands once the bots have their new names."""
        bots = {bot.origin: handle for handle, bot in self.bots.items() if bot.origin}
        bot, _, handle = origin.partition("/")
        return f"{bots.get(bot, bot)}/{handle}"

    def origins(self) -> set[str | None]:
        """The applied addresses that something in the files continues."""
        return {webhook.origin for *_, webhook in self.webhooks()}

    def is_free(self, address: str) -> bool:
        """Whether a webhook may be renamed to this address: what stands there is nothing, or has moved on itself."""
        bot, _, handle = address.partition("/")
        held = self.held(address)
        return handle not in self.bots[bot].webhooks and (held is None or held in self.origins())

    def expect(self, state: State) -> None:
        """Take over what has been applied, having compared it with what must have come of it."""
        old, self.applied = self.applied, {}
        for address, _, _, webhook in self.webhooks():
            resource = state.resources[Key(Kind.WEBHOOK, address)]
            assert resource.id is not None
            secret = secret_of(state, address, keyring=self.keyring)
            before = old.get(webhook.origin or "")
            if before is not None and before.type == webhook.type:
                assert resource.id == before.id, f"{address} has another id than {webhook.origin} had"
                is_kept = webhook.version <= before.version
                assert (secret == before.secret) == is_kept, f"{address}: {before.version} → {webhook.version}"
            else:
                assert resource.id not in self.ids, f"{address} is new and has an old id"
                assert all(secret != each.secret for each in old.values())
            self.applied[address] = Identity(
                id=resource.id,
                secret=secret,
                type=webhook.type,
                version=webhook.version,
                moved_from=next(iter(resource.moved_from), None),
            )
            self.ids.add(resource.id)
            webhook.origin = address
        for handle, bot in self.bots.items():
            bot.origin = handle
        assert {key.address for key in state.resources if key.kind is Kind.WEBHOOK} == set(self.applied)

    def settle(self, applied: Any) -> None:
        """What holds after every successful apply."""
        state = self.state
        assert state.serial == applied.serial == self.serial + bool(applied.plan.changes)
        self.serial = state.serial
        self.expect(state)
        desired = self.desired()
        assert plan.make(desired, state).is_empty
        again = self.run(self.carry_out(desired))
        assert (again.serial, again.plan.changes) == (self.serial, ())
        assert self.state == state
        assert plan.make(desired, read_export(export_state(state))).is_empty
        self.check_outputs(applied.plan, state)

    def check_outputs(self, made: plan.Plan, state: State) -> None:
        """No secret that was ever made stands in anything that is shown."""
        outputs = [
            plan.render_text(made, color=True, width=60),
            plan.to_json(made).decode(),
            render_markdown(made),
            export_state(state).decode(),
            repr(state),
            repr(made),
        ]
        assert not [secret for secret in self.mint.secrets for output in outputs if secret in output]
        assert plan.from_json(plan.to_json(made)) == made
        listed = Counter(change.action.value for change in made.changes)
        assert all(getattr(made.summary, action.value) == listed[action.value] for action in plan.Action)

    # -- edits ---------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def add_webhook(self, data: st.DataObject) -> None:
        """A new one, or one that was deleted from the files and not yet from the state."""
        free = [f"{bot}/{handle}" for bot in self.bots for handle in HANDLES if handle not in self.bots[bot].webhooks]
        if free:
            address = data.draw(st.sampled_from(free))
            bot, _, handle = address.partition("/")
            held = self.held(address)
            origin = None if held in self.origins() else held
            self.bots[bot].webhooks[handle] = Webhook(type=data.draw(st.sampled_from(TYPES)), origin=origin)

    @rule(data=st.data())
    def delete_webhook(self, data: st.DataObject) -> None:
        """Not one whose place another has taken already: then that one would not get away from its own."""
        here = {address: webhook for address, _, _, webhook in self.webhooks()}
        able = [
            address
            for address, webhook in here.items()
            if webhook.origin is None or all(self.held(other) != webhook.origin for other in here if other != address)
        ]
        if able:
            bot, _, handle = data.draw(st.sampled_from(able)).partition("/")
            del self.bots[bot].webhooks[handle]

    @rule(data=st.data(), what=st.sampled_from(["timeout", "version", "type"]))
    def edit_webhook(self, data: st.DataObject, what: str) -> None:
        """Its fields, its secret's version, or its type."""
        here = [webhook for *_, webhook in self.webhooks()]
        if here:
            webhook = data.draw(st.sampled_from(here))
            match what:
                case "timeout":
                    webhook.timeout = data.draw(st.integers(1, 30))
                case "version":
                    webhook.version = data.draw(st.integers(1, 4))
                case _:
                    webhook.type = data.draw(st.sampled_from(TYPES))

    @rule(data=st.data())
    def rename_webhook(self, data: st.DataObject) -> None:
        """Within its bot or to another, once or several times before it is applied."""
        here = [address for address, *_ in self.webhooks()]
        free = [f"{bot}/{handle}" for bot in self.bots for handle in HANDLES if self.is_free(f"{bot}/{handle}")]
        if here and free:
            moves = {data.draw(st.sampled_from(here)): data.draw(st.sampled_from(free))}
            self.move(moves)

    @rule(data=st.data())
    def swap_webhooks(self, data: st.DataObject) -> None:
        """Two applied ones take each other's name."""
        here = [
            address for address, _, _, webhook in self.webhooks() if webhook.origin == self.held(address) is not None
        ]
        if len(here) > 1:
            one, other = data.draw(st.lists(st.sampled_from(here), min_size=2, max_size=2, unique=True))
            self.move({one: other, other: one})

    def move(self, moves: dict[str, str]) -> None:
        """Give webhooks other addresses, unless nobody could tell that they are meant to move (`is_hidden`)."""
        before = deepcopy(self.bots)
        moved = {}
        for old, new in moves.items():
            bot, _, handle = old.partition("/")
            moved[new] = self.bots[bot].webhooks.pop(handle)
        for address, webhook in moved.items():
            bot, _, handle = address.partition("/")
            self.bots[bot].webhooks[handle] = webhook
            webhook.moved_from = None if webhook.origin == address else webhook.origin
            for _, _, _, other in self.webhooks():
                if other is not webhook and other.moved_from == webhook.moved_from:
                    other.moved_from = None
        if self.is_hidden():
            self.bots = before

    def is_hidden(self) -> bool:
        """Whether somebody moves by a `moved_from` that stood at that address already when it was last applied."""
        here = {address: webhook for address, _, _, webhook in self.webhooks()}
        at = {webhook.origin: self.place_of(webhook.origin) for webhook in here.values() if webhook.origin}
        movers = {
            address: at[webhook.origin]
            for address, webhook in here.items()
            if webhook.origin and at[webhook.origin] != address and self.held(address)
        }
        dealt_with = {
            address for address in movers if self.applied[str(self.held(address))].moved_from == here[address].origin
        }
        return any(not self.is_turned(address, movers, dealt_with) for address in dealt_with)

    def is_turned(self, start: str, movers: dict[str, str], dealt_with: set[str]) -> bool:
        """Whether an address is part of a ring with a claim that is new."""
        ring, address = [start], movers[start]
        while address in movers and address not in ring:
            ring.append(address)
            address = movers[address]
        return address == start and not dealt_with.issuperset(ring)

    @rule(data=st.data())
    def rename_bot(self, data: st.DataObject) -> None:
        """With all its webhooks, to a handle that nobody has or had."""
        free = [handle for handle in BOTS if self.is_unknown(handle)]
        if free and self.bots:
            old = data.draw(st.sampled_from(sorted(self.bots)))
            bot = self.bots.pop(old)
            self.bots[data.draw(st.sampled_from(free))] = bot
            bot.moved_from = bot.origin
            for other in self.bots.values():
                if other is not bot and other.moved_from == bot.moved_from:
                    other.moved_from = None

    @rule(handle=st.sampled_from(BOTS))
    def add_or_delete_bot(self, handle: str) -> None:
        """Add one that is neither there nor applied, or delete one without webhooks."""
        if self.is_unknown(handle):
            self.bots[handle] = Bot()
        elif handle in self.bots and not self.bots[handle].webhooks and len(self.bots) > 1:
            del self.bots[handle]

    def is_unknown(self, handle: str) -> bool:
        """Whether no bot has this handle, in the files or in the state."""
        return handle not in self.bots and Key(Kind.BOT, handle) not in self.state.resources

    # -- reconciling ---------------------------------------------------------------------------------------------

    @rule()
    def apply_all(self) -> None:
        """Plan and apply; the order of keys and files does not matter."""
        desired, other = self.desired(), self.desired(split=True)
        state = self.state
        assert desired.digest == other.digest
        assert without_places(plan.make(desired, state)) == without_places(plan.make(other, state))
        self.settle(self.run(self.carry_out(other)))

    @rule()
    def save_plan(self) -> None:
        """For later, when the files or the state may have changed."""
        made = self.run(plan_against(self.store, self.desired(), now_ms=self.now_ms))
        self.saved = plan.from_json(plan.to_json(made))

    @precondition(lambda self: self.saved is not None)
    @rule()
    def apply_saved_plan(self) -> None:
        """It is applied if it still says what would be done, and refused as stale if not."""
        desired, state = self.desired(), self.state
        assert self.saved is not None
        stale = differing(self.saved, plan.make(desired, state))
        if stale:
            with pytest.raises(PlanStale):
                self.run(self.carry_out(desired, reviewed=self.saved))
            assert self.state == state
        else:
            self.settle(self.run(self.carry_out(desired, reviewed=self.saved)))

    @precondition(lambda self: self.applied)
    @rule(data=st.data())
    def rotate_secret(self, data: st.DataObject) -> None:
        """Nothing but that secret changes, and nothing of it shows in the next plan."""
        before = self.state
        todo = plan.make(self.desired(), before).summary
        address = data.draw(st.sampled_from(sorted(self.applied)))
        self.turn(address)
        after = self.state
        assert {key for key in after.resources if after.resources[key] != before.resources[key]} == {
            Key(Kind.WEBHOOK, address)
        }
        assert plan.make(self.desired(), after).summary == todo

    def turn(self, address: str) -> None:
        """Rotate, and know the new secret."""
        self.now_ms += 1
        rotated = self.run(rotate(self.store, address, keyring=self.keyring, mint=self.mint, now_ms=self.now_ms))
        self.serial += 1
        assert rotated.serial == self.serial
        self.learn(address)

    def learn(self, address: str) -> None:
        """Take over a secret that was rotated."""
        state = self.state
        secret = secret_of(state, address, keyring=self.keyring)
        assert secret != self.applied[address].secret
        assert state.resources[Key(Kind.WEBHOOK, address)].id == self.applied[address].id
        self.applied[address] = replace(self.applied[address], secret=secret)

    @rule()
    def two_apply_at_once(self) -> None:
        """One wins; the other is told that its plan is stale, and has done nothing."""
        desired, theirs = self.desired(), []

        async def meanwhile() -> None:
            theirs.append(await self.carry_out(desired))

        disturbed = Disturbed(self.store, meanwhile)
        if plan.make(desired, self.state).is_empty:
            assert self.run(self.carry_out(desired, store=disturbed)).plan.is_empty
            return
        with pytest.raises(PlanStale):
            self.run(self.carry_out(desired, store=disturbed))
        self.settle(theirs[0])

    @precondition(lambda self: self.applied)
    @rule(data=st.data())
    def rotation_comes_between(self, data: st.DataObject) -> None:
        """A secret that is rotated while somebody applies is not lost."""
        address = data.draw(st.sampled_from(sorted(self.applied)))

        async def meanwhile() -> None:
            await rotate(self.store, address, keyring=self.keyring, mint=self.mint, now_ms=self.now_ms)

        desired = self.desired()
        if not plan.make(desired, self.state).is_empty:
            with pytest.raises(PlanStale):
                self.run(self.carry_out(desired, store=Disturbed(self.store, meanwhile)))
            self.serial += 1
            self.learn(address)

    @rule()
    def crash(self) -> None:
        """In the middle of the transaction: nothing of it has happened, in this process and in the next."""
        before, desired = self.state, self.desired()
        if not plan.make(desired, before).is_empty:
            with pytest.raises(Crash):
                self.run(self.carry_out(desired, store=Disturbed(self.store, crashes=True)))
            assert self.state == before
            self.store = self.run(self.reopen(self.store))
            assert self.state == before

    @rule(broken=st.sampled_from(BROKEN))
    def break_a_file(self, broken: bytes) -> None:
        """One that cannot be read refuses them all."""
        with pytest.raises(ConfigurationInvalid):
            config.load_texts({**self.files(), "broken.yaml": broken}, "/config")

    @invariant()
    def serial_is_known(self) -> None:
        """Nothing but what the model knows of has written."""
        if self.store is not None:
            assert self.run(self.store.read_serial())[1] == self.serial


def turned(value: Any) -> Any:
    """The same with the keys of every mapping in the opposite order."""
    return {name: turned(value[name]) for name in reversed(value)} if isinstance(value, dict) else value


def without_places(made: plan.Plan) -> Any:
    """A plan's JSON without the places in files."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(each) for name, each in value.items() if name not in ("file", "line")}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip(json.loads(plan.to_json(made)))


def play(machine: type[ReconcilerMachine], examples: int) -> None:
    """Try so many lives."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_reconciling_keeps_its_promises_in_any_order_of_events(new_mint: Any) -> None:
    """In the readable model of a store."""

    class OnMemory(ReconcilerMachine):
        async def open(self) -> Store:
            return MemoryStore()

        async def reopen(self, store: Store) -> Store:
            return store

    OnMemory.new_mint = new_mint
    play(OnMemory, 80)


def test_reconciling_keeps_its_promises_on_disk(new_mint: Any, tmp_path: Path) -> None:
    """In SQLite, which is closed and opened again after each crash."""
    numbers = itertools.count()

    class OnDisk(ReconcilerMachine):
        async def open(self) -> Store:
            self.url = f"sqlite:{tmp_path}/{next(numbers)}.db"
            return await open_store(self.url, Access.WRITE)

        async def reopen(self, store: Store) -> Store:
            await store.close()
            return await open_store(self.url, Access.WRITE)

    OnDisk.new_mint = new_mint
    play(OnDisk, 10)
