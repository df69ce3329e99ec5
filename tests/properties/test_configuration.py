"""What holds for every configuration: order never counts, places always do."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler import config

HANDLE = st.from_regex(r"\A[a-z][a-z0-9-]{0,5}\Z")
WEBHOOK = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["conversation.started", "conversation.claimed", "sync.failure"]),
        "url": st.sampled_from(["https://a.example/x", "https://b.example/{{deliveryId}}", "${env:URL}"]),
    },
    optional={
        "enabled": st.booleans(),
        "timeout": st.sampled_from(["1s", "10s", "250ms"]),
        "retry": st.fixed_dictionaries(
            {}, optional={"attempts": st.integers(1, 9), "schedule": st.just(["1s", "2m"])}
        ),
        "custom_payload": st.fixed_dictionaries(
            {},
            optional={
                "headers": st.dictionaries(st.sampled_from(["A", "B", "C"]), st.just("v")),
                "body": st.just("{}"),
            },
        ),
        "description": st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=10),
    },
)
BOT = st.fixed_dictionaries(
    {}, optional={"webhooks": st.dictionaries(HANDLE, WEBHOOK, max_size=4), "name": st.sampled_from(["One", "Two"])}
)
BOTS = st.dictionaries(HANDLE, BOT, max_size=4)


def shuffled(draw: st.DrawFn, value: Any) -> Any:
    """The same mappings with their keys in another order; lists keep theirs."""
    if isinstance(value, dict):
        return {key: shuffled(draw, value[key]) for key in draw(st.permutations(sorted(value)))}
    return value


def digest_of(files: dict[str, Any]) -> str:
    """The digest of files that hold these data."""
    return config.load_texts({name: json.dumps(data).encode() for name, data in files.items()}, "/etc/hooks").digest


@given(BOTS, st.data())
def test_the_order_of_keys_never_changes_the_digest(bots: dict[str, Any], data: st.DataObject) -> None:
    """At any depth."""
    whole = {"version": 1, "bots": bots}
    assert digest_of({"a.yaml": whole}) == digest_of({"a.yaml": shuffled(data.draw, whole)})


@given(BOTS, st.data())
def test_the_order_and_the_number_of_files_never_change_the_digest(bots: dict[str, Any], data: st.DataObject) -> None:
    """Bots, and the webhooks of one bot, may be spread over files in any way."""
    names = ["a.yaml", "b/c.yaml", "d.yml"]
    files: dict[str, Any] = {name: {"version": 1, "bots": {}} for name in names}
    for handle, bot in bots.items():
        files[data.draw(st.sampled_from(names))]["bots"].setdefault(handle, {}).update(
            {key: value for key, value in bot.items() if key != "webhooks"}
        )
        for name, hook in bot.get("webhooks", {}).items():
            home = files[data.draw(st.sampled_from(names))]["bots"].setdefault(handle, {})
            home.setdefault("webhooks", {})[name] = hook
    reordered = dict(data.draw(st.permutations(sorted(files.items()))))
    whole = digest_of({"a.yaml": {"version": 1, "bots": bots}})
    assert whole == digest_of(files) == digest_of(reordered)


@given(BOTS)
def test_every_resource_is_located_at_its_own_name(bots: dict[str, Any]) -> None:
    """The place of a resource is its key in the text, and the place of a field is that field's key."""
    text = json.dumps({"version": 1, "bots": bots}, indent=2)
    lines = text.split("\n")
    desired = config.load_texts({"a.yaml": text.encode()}, "/etc/hooks")
    for key, resource in desired.resources.items():
        place = resource.locate("")
        handle = key.address.rpartition("/")[2]
        assert lines[place.line - 1][place.column - 1 :].startswith(f'"{handle}"')
    for handle, bot in bots.items():
        for name, hook in bot.get("webhooks", {}).items():
            resource = desired.resources["webhook", f"{handle}/{name}"]  # type: ignore[index]
            for field in hook:
                place = resource.locate(field)
                assert lines[place.line - 1][place.column - 1 :].startswith(f'"{field}"')
