"""What `reconcile serve` was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["OnChange", "ServeOptions"]

OnChange: TypeAlias = Literal["apply", "plan", "ignore"]

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Every setting of the daemon. Times are milliseconds; retention is finite unless somebody asks otherwise.

    `files` is None when the daemon follows the store only. `retention_ms` is how long ended deliveries are kept,
    `retention_count` how many at most, `parked_ms` how long a disabled or gone hook's waiting deliveries are.
    `grace_ms` bounds a graceful stop.
    """

    store: str = "sqlite:state/reconciler.db"
    key_file: str | None = None
    files: tuple[str, ...] | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None
    on_change: OnChange = "apply"
    allow_targets: tuple[str, ...] = ()
    retention_ms: int = 30 * _DAY_MS
    retention_count: int = 1_000_000
    parked_ms: int = 7 * _DAY_MS
    grace_ms: int = 30_000
    log_level: str = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
