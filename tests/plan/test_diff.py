"""`plan.diff`."""

from __future__ import annotations

import pytest

from reconciler.plan.diff import differences


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        (
            {"retry": {"attempts": 5, "jitter": 0.1}},
            {"retry": {"attempts": 8, "jitter": 0.1}},
            [("retry.attempts", 5, 8)],
        ),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
        ({"sync": None}, {"sync": {"http": {"url": "u"}}}, [("sync.http.url", None, "u")]),
        ({"sync": {"command": ["x"]}}, {"sync": None}, [("sync.command", ["x"], None)]),
        ({"headers": {"X-Bot": "a"}}, {"headers": {}}, [("headers.X-Bot", "a", None)]),
        ({"headers": None}, {"headers": {}}, [("headers", None, {})]),
        ({"secret": {"env": "A"}}, {"secret": {"env": "B"}}, [("secret", {"env": "A"}, {"env": "B"})]),
        ({"secret": None}, {"secret": {"file": "f"}}, [("secret", None, {"file": "f"})]),
        ({"enabled": True}, {"enabled": False}, [("enabled", True, False)]),
        (None, {"a": 1}, [("a", None, 1)]),
        ({"a": 1}, None, [("a", 1, None)]),
    ],
)
def test_every_differing_leaf_is_listed(before: object, after: object, expected: list[object]) -> None:
    """Mappings are told leaf by leaf, lists and secrets whole, absence as None."""
    assert differences(before, after) == expected  # type: ignore[arg-type]


def test_the_order_of_keys_does_not_show() -> None:
    """What a reader asks for first comes first, the rest by path, however the mappings are ordered."""
    names = ["timeout", "enabled", "url", "b", "a", "type"]
    expected = ["type", "url", "enabled", "a", "b", "timeout"]
    for order in (names, names[::-1]):
        assert [each.path for each in differences({}, dict.fromkeys(order, 1))] == expected
