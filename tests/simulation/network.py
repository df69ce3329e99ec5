"""Receivers with moods: what comes of a request is drawn from the world's seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

from simulation.virtual import now_ms, pause

from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.exchange import Reply

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - made from the world's seed

    from reconciler.model.exchange import Request

MOODS = {
    "well": {"ok": 1.0},
    "slow": {"ok_late": 0.9, "late": 0.1},
    "flaky": {"ok": 0.6, "error": 0.2, "drop": 0.1, "late": 0.05, "lost": 0.05},
    "ill": {"error": 0.9, "ok": 0.1},
    "hanging": {"late": 1.0},
    "dripping": {"lost": 0.5, "late": 0.5},
    "dead": {"drop": 1.0},
    "throttling": {"throttle": 0.7, "ok": 0.3},
    "refused": {"refused": 0.3, "ok": 0.7},
    "gone": {"gone": 1.0},
}
"""What may come of a request, by how a receiver is; `lost` is a success whose answer never arrives."""
MOOD_WEIGHTS = {"well": 6, "flaky": 4, "slow": 2, "ill": 2, "hanging": 2, "dead": 2, "throttling": 2, "dripping": 1}
MOOD_WEIGHTS |= {"refused": 1, "gone": 1}
ERRORS = (500, 502, 503, 504, 404, 400, 302, 429)
DROPS = ("connect", "dns", "tls", "disconnected", "protocol")


@dataclass(kw_only=True)
class Receiver:
    """One receiver. `took` counts the requests that it understood as delivered, by delivery id."""

    chance: Random
    mood: str = "well"
    took: dict[str, int] = field(default_factory=dict)

    def change_mood(self) -> None:
        """Be otherwise from now on."""
        (self.mood,) = self.chance.choices(tuple(MOOD_WEIGHTS), tuple(MOOD_WEIGHTS.values()))

    async def answer(self, request: Request, delivery_id: str) -> Reply:
        """What the sender gets: an answer, or what it raises."""
        chance = self.chance
        (outcome,) = chance.choices(tuple(MOODS[self.mood]), tuple(MOODS[self.mood].values()))
        match outcome:
            case "ok" | "ok_late":
                await pause(chance.uniform(0.001, 0.05) if outcome == "ok" else chance.uniform(0.5, 4.0))
                self.took[delivery_id] = self.took.get(delivery_id, 0) + 1
                return Reply(status=chance.choice((200, 201, 204)), headers=(), body=b"thanks")
            case "late" | "lost":
                if outcome == "lost":  # an endless body, or a byte a second: the receiver has it, we never know
                    self.took[delivery_id] = self.took.get(delivery_id, 0) + 1
                await pause(request.timeout_ms / 1000)
                raise SendFailed("timeout", "no complete answer")
            case "drop":
                await pause(chance.uniform(0.0, 0.2))
                raise SendFailed(chance.choice(DROPS), "connection lost")
            case "refused":
                raise EgressRefused("10.0.0.1 is private")
            case "throttle":
                return Reply(status=chance.choice((429, 503)), headers=(self._retry_after(),), body=b"")
            case "gone":
                return Reply(status=410, headers=(), body=b"")
        await pause(chance.uniform(0.0, 0.3))
        return Reply(status=chance.choice(ERRORS), headers=(), body=b"no")

    def _retry_after(self) -> tuple[str, str]:
        seconds = self.chance.choice((0, 1, 3, 10, 30))
        date = formatdate(now_ms() // 1000 + seconds, usegmt=True)
        return ("Retry-After", self.chance.choice((str(seconds), date, "soon", "-5")))


def asked_ms(reply: Reply) -> int | None:
    """The wait that a reply asks for, as the one who sent it meant it."""
    text = dict(reply.headers).get("Retry-After", "")
    if text.isdigit():
        return int(text) * 1000
    if text.endswith("GMT"):
        return max(0, int(parsedate_to_datetime(text).timestamp()) - now_ms() // 1000) * 1000
    return None
