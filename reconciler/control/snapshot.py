"""State to Snapshot: secrets opened, references resolved, templates read, all of it once per change."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

from reconciler.control.references import Resolver, Unresolved, refuse, unresolved_problem
from reconciler.control.secrets import opened, opened_previous
from reconciler.model.hook import (
    BodyTemplate,
    CommandSync,
    CustomPayload,
    DataSource,
    EventType,
    HttpSync,
    NotifyType,
    OutgoingHook,
    SigningSecrets,
    TriggerHook,
)
from reconciler.model.reference import split_references
from reconciler.model.resource import Kind
from reconciler.model.snapshot import Bot, Snapshot
from reconciler.model.spec import (
    canonical_data_source,
    canonical_webhook,
    retry_of,
    sync_timeout_ms_of,
    timeout_ms_of,
)
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.model.reference import Reference
    from reconciler.model.resource import Key, Resource, Spec, State
    from reconciler.problem import Place, Problem
    from reconciler.store.seal import Keyring

__all__ = ["build_snapshot"]

JSON_TYPE = "application/json"
"""The content type of a body that names none."""


def build_snapshot(
    state: State,
    *,
    keyring: Keyring,
    environ: Mapping[str, str],
    generation: int,
    locate: Callable[[Key, str], Place | None] | None = None,
    base_dirs: Mapping[Key, str] | None = None,
) -> Snapshot:
    """The state as the daemon serves it.

    Raises ConfigurationInvalid naming every reference that cannot be resolved, at the place that `locate` gives
    for a resource's field or else by address and field; StateUnreadable for a secret that does not open.
    `base_dirs` replaces the folders of relative references where the files have moved since they were applied.
    """
    builder = _Builder(state, keyring, Resolver(environ), locate, base_dirs or {})
    for key in sorted(key for key in state.resources if key.kind is not Kind.BOT):
        builder.add(state.resources[key])
    refuse(builder.problems)
    return builder.finish(generation)


class _Reading:
    """Resolves the references of one resource and remembers what they brought, for scrubbing."""

    __slots__ = ("_base_dir", "_path", "_report", "_resolver", "brought")

    def __init__(self, resolver: Resolver, base_dir: str, report: Callable[[str, str], None]) -> None:
        self._resolver = resolver
        self._base_dir = base_dir
        self._report = report
        self._path = ""
        self.brought: list[str] = []

    def template(self, path: str, text: str) -> Template:
        """The template with its references resolved."""
        self._path = path
        try:
            return Template.parse(text).resolve(self._lookup)
        except ValueError as error:
            self._report(path, str(error))
            return Template(())

    def text(self, path: str, text: str) -> str:
        """The string with its references resolved; a token means nothing here and stays as it is."""
        if "${" not in text:
            return text
        try:
            pieces = split_references(text)
        except ValueError as error:
            self._report(path, str(error))
            return ""
        self._path = path
        return "".join(piece if isinstance(piece, str) else self._lookup(piece) for piece in pieces)

    def secret(self, mapping: Mapping[str, str]) -> str:
        """The secret that a reference names."""
        try:
            secret = self._resolver.secret(mapping, self._base_dir)
        except Unresolved as error:
            self._report("secret", str(error))
            return ""
        self.brought.append(secret)
        return secret

    def scrub(self) -> tuple[str, ...]:
        """Longest first, so that no text is broken up before it is found."""
        return tuple(sorted(set(filter(None, self.brought)), key=lambda text: (-len(text), text)))

    def _lookup(self, reference: Reference) -> str:
        try:
            value = self._resolver.lookup(reference, self._base_dir)
        except Unresolved as error:
            self._report(self._path, str(error))
            return ""
        if value != reference.default:  # a default stands in the YAML for everybody to read
            self.brought.append(value)
        return value


class _Builder:
    """Collects one snapshot's parts, and every problem on the way."""

    def __init__(
        self,
        state: State,
        keyring: Keyring,
        resolver: Resolver,
        locate: Callable[[Key, str], Place | None] | None,
        base_dirs: Mapping[Key, str],
    ) -> None:
        self._state = state
        self._keyring = keyring
        self._resolver = resolver
        self._locate = locate
        self._base_dirs = base_dirs
        self.problems: list[Problem] = []
        self._sources: dict[str, DataSource] = {}
        self._outgoing: list[OutgoingHook] = []
        self._triggers: list[TriggerHook] = []

    def add(self, resource: Resource) -> None:
        """Read one data source or webhook."""
        key = resource.key

        def report(path: str, reason: str) -> None:
            place = self._locate(key, path) if self._locate is not None else None
            self.problems.append(unresolved_problem(key, path, reason, place))

        reading = _Reading(self._resolver, self._base_dirs.get(key, resource.base_dir), report)
        if key.kind is Kind.DATA_SOURCE:
            handle = key.address.rpartition("/")[2]
            spec: Spec = canonical_data_source(resource.spec, handle)
            self._sources[key.address] = _data_source(key.address, spec, reading)
            return
        spec = canonical_webhook(resource.spec)
        if spec["type"] == EventType.SYNC_TRIGGER:
            self._triggers.append(self._trigger(resource, spec))
        else:
            self._outgoing.append(self._outgoing_hook(resource, spec, reading))

    def _trigger(self, resource: Resource, spec: Spec) -> TriggerHook:
        assert resource.id is not None
        digests: list[tuple[bytes, int | None]] = [
            (_digest(opened(resource, self._keyring, self._state.lineage)), None)
        ]
        if resource.secret is not None and resource.secret.previous is not None:
            old = opened_previous(resource, self._keyring, self._state.lineage)
            digests.append((_digest(old), resource.secret.previous.until_ms))
        return TriggerHook(
            id=resource.id,
            address=resource.key.address,
            enabled=spec["enabled"],
            data_source=f"{_bot_of(resource.key)}/{spec['data_source']}",
            digests=tuple(digests),
        )

    def _outgoing_hook(self, resource: Resource, spec: Spec, reading: _Reading) -> OutgoingHook:
        assert resource.id is not None
        is_notify = spec["type"] == NotifyType.NOTIFY
        bot = "" if is_notify else _bot_of(resource.key)
        source = spec.get("data_source")
        secrets = self._signing_secrets(resource, spec, reading)
        return OutgoingHook(
            id=resource.id,
            address=resource.key.address,
            type=NotifyType.NOTIFY if is_notify else EventType(spec["type"]),
            enabled=spec["enabled"],
            bot=bot,
            data_source=None if source is None else f"{bot}/{source}",
            url=reading.template("url", spec["url"]),
            timeout_ms=timeout_ms_of(spec),
            retry=retry_of(spec),
            concurrency=spec["concurrency"],
            secret_header=spec["signing"]["secret_header"],
            standard_webhooks=spec["signing"]["standard_webhooks"],
            custom=_custom_payload(spec["custom_payload"], reading),
            secrets=secrets,
            scrub=reading.scrub(),
        )

    def _signing_secrets(self, resource: Resource, spec: Spec, reading: _Reading) -> SigningSecrets:
        if spec["secret"] is not None:
            return SigningSecrets(current=reading.secret(spec["secret"]))
        current = opened(resource, self._keyring, self._state.lineage)
        reading.brought.append(current)
        if resource.secret is None or resource.secret.previous is None:
            return SigningSecrets(current=current)
        previous = opened_previous(resource, self._keyring, self._state.lineage)
        reading.brought.append(previous)
        return SigningSecrets(current=current, previous=previous, overlap_until_ms=resource.secret.previous.until_ms)

    def finish(self, generation: int) -> Snapshot:
        """The snapshot, indexed for every question the daemon asks."""
        sources: dict[str, dict[str, DataSource]] = defaultdict(dict)
        for source in self._sources.values():
            sources[source.bot][source.address.rpartition("/")[2]] = source
        hooks: dict[str, dict[EventType, list[OutgoingHook]]] = defaultdict(lambda: defaultdict(list))
        notify = None
        for hook in self._outgoing:
            match hook.type:
                case NotifyType():
                    notify = hook
                case EventType():
                    hooks[hook.bot][hook.type].append(hook)
        bots = {
            handle: Bot(
                handle=handle,
                id=spec["id"],
                name=spec["name"],
                data_sources=sources.get(handle, {}),
                hooks={event: tuple(listed) for event, listed in hooks.get(handle, {}).items()},
            )
            for handle, spec in sorted(
                (key.address, resource.spec)
                for key, resource in self._state.resources.items()
                if key.kind is Kind.BOT
            )
        }
        by_name: dict[str, tuple[Bot, ...]] = {}
        for bot in bots.values():
            by_name[bot.name] = (*by_name.get(bot.name, ()), bot)
        every: list[OutgoingHook | TriggerHook] = [*self._outgoing, *self._triggers]
        return Snapshot(
            generation=generation,
            lineage=self._state.lineage,
            serial=self._state.serial,
            bots=bots,
            bots_by_id={bot.id: bot for bot in bots.values()},
            bots_by_name=by_name,
            outgoing={hook.id: hook for hook in self._outgoing},
            triggers={hook.id: hook for hook in self._triggers},
            data_sources=self._sources,
            addresses={hook.address: hook for hook in sorted(every, key=lambda hook: hook.address)},
            notify=notify,
        )


def _data_source(address: str, spec: Spec, reading: _Reading) -> DataSource:
    sync: HttpSync | CommandSync | None = None
    if spec["sync"] is not None and "command" in spec["sync"]:
        argv = (reading.text(f"sync.command.{index}", text) for index, text in enumerate(spec["sync"]["command"]))
        sync = CommandSync(argv=tuple(argv))
    elif spec["sync"] is not None:
        http = spec["sync"]["http"]
        sync = HttpSync(
            method=http["method"],
            url=reading.text("sync.http.url", http["url"]),
            headers=tuple(
                (name, reading.text(f"sync.http.headers.{name}", text)) for name, text in http["headers"].items()
            ),
        )
    return DataSource(
        address=address,
        bot=address.partition("/")[0],
        id=spec["id"],
        name=spec["name"],
        sync=sync,
        timeout_ms=sync_timeout_ms_of(spec),
        scrub=reading.scrub(),
    )


def _custom_payload(spec: Spec, reading: _Reading) -> CustomPayload | None:
    if not spec["enabled"]:
        return None
    headers = tuple(
        (name, reading.template(f"custom_payload.headers.{name}", text)) for name, text in spec["headers"].items()
    )
    body = None
    if spec["body"] is not None:
        declared = next((text for name, text in spec["headers"].items() if name.lower() == "content-type"), JSON_TYPE)
        content_type = reading.text("custom_payload.headers.Content-Type", declared)
        template = reading.template("custom_payload.body", spec["body"])
        body = BodyTemplate(template=template, content_type=content_type)
    return CustomPayload(method=spec["method"], headers=headers, body=body)


def _bot_of(key: Key) -> str:
    return key.address.partition("/")[0]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
