"""The state as canonical JSON without secrets, and back: enough to plan against, from a fork or a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from reconciler.errors import StateUnreadable
from reconciler.model.resource import Key, Kind, PreviousSecret, Resource, Secret, State

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
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
        lineage=document["lineage"],
        serial=int(document["serial"]),
        resources={resource.key: resource for resource in resources},
    )


def _read_resource(item: Mapping[str, Any]) -> Resource:
    secret = item["secret"]
    return Resource(
        key=Key(Kind(item["kind"]), _text(item["address"])),
        spec=dict(item["spec"]),
        id=item["id"],
        secret=None if secret is None else _read_secret(secret),
        moved_from=tuple(item.get("moved_from", ())),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _read_secret(secret: Mapping[str, Any]) -> Secret:
    previous = secret["previous"]
    return Secret(
        fingerprint=secret["fingerprint"],
        sealed=None,
        created_ms=secret["created_ms"],
        previous=None
        if previous is None
        else PreviousSecret(fingerprint=previous["fingerprint"], sealed=None, until_ms=previous["until_ms"]),
    )
