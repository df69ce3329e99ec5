"""When going from one webhook spec to another brings a new secret into force."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.resource import Spec

__all__ = ["rotates", "switches_secret_source"]


def switches_secret_source(before: Spec, after: Spec) -> bool:
    """Whether the secret moves between generated and referenced."""
    return (before.get("secret") is None) != (after.get("secret") is None)


def rotates(before: Spec, after: Spec) -> bool:
    """Whether a new secret comes into force: by a raised `secret_version`, or by a change of where it comes from."""
    if switches_secret_source(before, after):
        return True
    return after.get("secret") is None and bool(after["secret_version"] > before["secret_version"])
