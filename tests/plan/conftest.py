"""States made from declarations, so that plans can be made without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.model.resource import Kind, Resource, Secret, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.resource import Desired


@pytest.fixture(scope="session")
def applied() -> Callable[..., State]:
    """The state right after a first apply: ids are `id-` and the address, fingerprints count up."""

    def state_of(desired: Desired, serial: int = 1) -> State:
        resources = {}
        for number, (key, declared) in enumerate(desired.resources.items()):
            is_hook = key.kind is Kind.WEBHOOK
            generated = is_hook and declared.spec.get("secret") is None
            resources[key] = Resource(
                key=key,
                spec=declared.spec,
                base_dir=declared.base_dir,
                id=f"id-{key.address}" if is_hook else None,
                secret=Secret(fingerprint=f"{number:08x}", sealed=b"sealed", created_ms=0) if generated else None,
            )
        return State(lineage="lineage-1", serial=serial, salt=b"salt", resources=resources)

    return state_of
