"""Tables on a terminal, and without one."""

from __future__ import annotations

import io
import sys

import pytest

from reconciler.cli.output import print_table


class Terminal(io.StringIO):
    """Output that somebody sees."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variable", "value", "escapes"), [("NO_COLOR", "1", False), ("TERM", "dumb", False), ("TERM", "xterm", True)]
)
def test_table_is_styled_only_where_colours_are_wanted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, *, escapes: bool
) -> None:
    """NO_COLOR and a dumb terminal get no escape sequence at all, bold and dim included."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())

    print_table(("hook", "health"), [("b/h", "disabled"), ("b/i", "healthy")])

    assert "healthy" in terminal.getvalue()
    assert ("\x1b" in terminal.getvalue()) is escapes


def test_names_stay_whole_however_narrow_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is there to be copied: lines run on before one is cut up, and only prose is broken."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    address, kind = "customer-support-bot/crm-new-conversation", "conversation.escalated"

    print_table(("hook", "type", "meaning"), [(address, kind, "Somebody asks for a person, so somebody is paged.")])

    lines = terminal.getvalue().splitlines()
    assert any(address in line and kind in line for line in lines)
    assert not any("Somebody asks for a person, so" in line for line in lines)
