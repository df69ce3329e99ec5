"""The state as canonical JSON without secrets, and back: enough to plan against, from a fork or a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from reconciler.errors import StateUnreadable
from reconciler.model.resource import Key, Kind, PreviousSecret, Resource, Secret, State
from reconciler.model.spec import canonical_bot, canonical_data_source, canonical_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Spec

__all__ = ["FORMAT_VERSION", "export_state", "read_export"]

FORMAT_VERSION = 1


def export_state(state: State) -> bytes:
    """Every resource by kind and address, keys in order; secrets as fingerprints, salt and folders left out."""
    document = {
        "format_version": FORMAT_VERSION,
        "lineage": state.lineage,
        "serial": state.serial,
        "resources": [_resource(state.resources[key]) for key in sorted(state.resources)],
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(document, option=options)


def read_export(content: bytes) -> State:
    """The state that was exported, without the secrets. Raises StateUnreadable."""
    try:
        document = orjson.loads(content)
        version = document["format_version"]
        if version == FORMAT_VERSION:
            return _state(document)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StateUnreadable("this is no exported state: make one with `reconcile state export`") from error
    raise StateUnreadable(f"this state has format version {version!r}; this program reads version {FORMAT_VERSION}")


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "kind": resource.key.kind.value,
        "address": resource.key.address,
        "spec": resource.spec,
        "id": resource.id,
        "secret": None if resource.secret is None else _secret(resource.secret),
        "moved_from": list(resource.moved_from),
    }


def _secret(secret: Secret) -> dict[str, Any]:
    previous = secret.previous
    return {
        "fingerprint": secret.fingerprint,
        "created_ms": secret.created_ms,
        "previous": None
        if previous is None
        else {"fingerprint": previous.fingerprint, "until_ms": previous.until_ms},
    }


def _state(document: Mapping[str, Any]) -> State:
    resources = [_read_resource(item) for item in document["resources"]]
    return State(
        lineage=_text_or_none(document["lineage"]),
        serial=_whole(document["serial"]),
        resources={resource.key: resource for resource in resources},
    )


def _read_resource(item: Mapping[str, Any]) -> Resource:
    key = Key(Kind(item["kind"]), _text(item["address"]))
    secret = item["secret"]
    return Resource(
        key=key,
        spec=_read_spec(key, item["spec"]),
        id=_text_or_none(item["id"]),
        secret=None if secret is None else _read_secret(secret),
        moved_from=tuple(map(_text, item.get("moved_from", ()))),
    )


def _read_spec(key: Key, spec: Mapping[str, Any]) -> Spec:
    """The spec as this version of the program means it; what could not be one raises."""
    handle = key.address.rpartition("/")[2]
    read: Spec
    match key.kind:
        case Kind.BOT:
            read = canonical_bot(spec, handle)
        case Kind.DATA_SOURCE:
            read = canonical_data_source(spec, handle)
        case Kind.WEBHOOK:
            read = canonical_webhook(spec)
    for name in ("id", "name", "type", "url", "description"):
        _text(read.get(name, ""))
    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(value)
    return value


def _read_secret(secret: Mapping[str, Any]) -> Secret:
    previous = secret["previous"]
    return Secret(
        fingerprint=_text(secret["fingerprint"]),
        sealed=None,
        created_ms=_whole(secret["created_ms"]),
        previous=None
        if previous is None
        else PreviousSecret(
            fingerprint=_text(previous["fingerprint"]), sealed=None, until_ms=_whole(previous["until_ms"])
        ),
    )
