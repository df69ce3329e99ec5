"""Every error that a user can meet, and the exit code each one ends in.

::

    ReconcilerError                 exit 1   something the program knows how to name
    ├── UsageError                  exit 64  a flag, an argument or a terminal is missing or wrong
    │   └── UnknownAddress          exit 64  no such bot, data source, webhook or delivery
    ├── ConfigurationInvalid        exit 65  problems that point at file:line:column
    ├── StateUnreadable             exit 66  the store cannot be read, or its key is missing
    ├── PlanStale                   exit 4   the state moved on, or the plan is not the reviewed one
    ├── StoreLocked                 exit 5   another daemon holds the store
    ├── GuardRefused                exit 6   an apply that would do what nobody confirmed
    ├── DaemonUnreachable           exit 69  no daemon answers at the address
    ├── StoreUnavailable            exit 1   disk full, read-only, broken: nothing was written; may pass
    ├── SnapshotMoved               exit 1   the fan-out was decided against an older state; decide again
    ├── EgressRefused               exit 1   the egress guard will not dial this address
    ├── SendFailed                  exit 1   no complete answer came: time-out, reset, TLS, DNS
    └── Unrenderable                exit 1   a template that cannot be rendered safely for this payload
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Problem

__all__ = [
    "ConfigurationInvalid",
    "DaemonUnreachable",
    "EgressRefused",
    "ExitCode",
    "GuardRefused",
    "PlanStale",
    "ReconcilerError",
    "SendFailed",
    "SnapshotMoved",
    "StateUnreadable",
    "StoreLocked",
    "StoreUnavailable",
    "UnknownAddress",
    "Unrenderable",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the command line ends in; scripts depend on the figures."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    PARTLY = 3
    STALE = 4
    LOCKED = 5
    GUARDED = 6
    USAGE = 64
    CONFIGURATION = 65
    STATE = 66
    UNREACHABLE = 69


class ReconcilerError(Exception):
    """An error with a name: `code` for programs, `message` (what, where, next step) for people."""

    code: ClassVar[str] = "failed"
    exit: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(ReconcilerError):
    """The command was called in a way that cannot work."""

    code = "usage"
    exit = ExitCode.USAGE


class UnknownAddress(UsageError):
    """No resource or delivery has this address or id."""

    code = "unknown-address"


class ConfigurationInvalid(ReconcilerError):
    """The YAML, or a reference in it, cannot be used; every problem is listed, sorted by place."""

    code = "configuration-invalid"
    exit = ExitCode.CONFIGURATION

    def __init__(self, problems: Sequence[Problem], message: str | None = None) -> None:
        errors = sum(1 for problem in problems if problem.is_error)
        super().__init__(message or f"the configuration has {errors} problem{'' if errors == 1 else 's'}")
        self.problems = tuple(problems)


class StateUnreadable(ReconcilerError):
    """The store is foreign, damaged, newer than this program, or sealed under another key."""

    code = "state-unreadable"
    exit = ExitCode.STATE


class PlanStale(ReconcilerError):
    """What was planned is not what applying would do now."""

    code = "plan-stale"
    exit = ExitCode.STALE


class StoreLocked(ReconcilerError):
    """Another daemon holds this store."""

    code = "store-locked"
    exit = ExitCode.LOCKED


class GuardRefused(ReconcilerError):
    """The plan does something dangerous that no flag has allowed. `guards` are the codes of what refused it."""

    code = "guard-refused"
    exit = ExitCode.GUARDED

    def __init__(self, message: str, guards: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.guards = tuple(guards)


class DaemonUnreachable(ReconcilerError):
    """No daemon answered."""

    code = "daemon-unreachable"
    exit = ExitCode.UNREACHABLE


class StoreUnavailable(ReconcilerError):
    """The store cannot write now; nothing of the operation happened and it may be tried again."""

    code = "store-unavailable"


class SnapshotMoved(ReconcilerError):
    """The state's serial is no longer the one this operation was decided against; nothing happened."""

    code = "snapshot-moved"


class EgressRefused(ReconcilerError):
    """The address that would have been dialled is not allowed; the reason names it."""

    code = "egress-refused"


class SendFailed(ReconcilerError):
    """A request that got no complete answer; `error` is its class, one of `delivery.AttemptError`."""

    code = "send-failed"

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class Unrenderable(ReconcilerError):
    """A template whose result would change what the request means (a dot segment in a path, say)."""

    code = "unrenderable"
