"""The listening socket, and what is said where there can be none."""

from __future__ import annotations

import pytest

from reconciler.daemon.listener import bind
from reconciler.errors import UsageError


def test_taken_port_is_named_with_the_systems_reason() -> None:
    """Whoever starts a second daemon on one port is told that it is in use."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            bind("127.0.0.1", port)


def test_host_that_does_not_exist_is_named_with_the_resolvers_reason() -> None:
    """A misspelled address is told as one, not by the resolver's number."""
    with pytest.raises(UsageError, match="not known"):
        bind("::1%nosuch", 0)
